"""A project with one real host: files of this machine, reached through an sshd of our own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_hosts import until
from scratch_project import Answer
from sshd_here import Sshd, sshd

from opsflow.engine.agent.start import connect

STACK = """
stack: warm
compute: {{provider: static, ssh: {{key: {key}}}}}
layers:
  web:
    recipes: {{setup: [page.setup]}}
    instances: {{here: {{}}}}
"""
RECIPE = """
from pyinfra.operations import files, server


def setup(node):
    files.line(name="Line", path="{directory}/file", line="one")


def endless(node):
    server.shell(name="Wait", commands=["exec sleep {number}"])


def patient(node):
    server.shell(name="First", commands=["echo first >>{directory}/log"])
    wait = "until [ -e {directory}/go ]; do sleep 0.1; done"
    server.shell(name="Wait", commands=[wait + "; echo waited >>{directory}/log"])
    server.shell(name="Last", commands=["echo last >>{directory}/log"])


def broken(node):
    server.shell(name="Fail", commands=["echo no; exit 3"])
"""


class WarmProject:
    """A project with one host: files of this machine, reached through an sshd of our own."""

    def __init__(self, root: Path, server: Sshd) -> None:
        self.root = root
        self.server = server
        self.runtime = Path(tempfile.mkdtemp(prefix="warm-"))
        self.idle = ""
        machine = server.machine
        self._sleep = str(100_000 + machine.port)
        host = {"address": machine.address, "port": machine.port, "host_key": machine.host_keys[0]}
        self._write("inventory/hosts.yml", json.dumps({"hosts": {"here": host}}))
        self._write("stacks/warm.yml", STACK.format(key=machine.key_file))
        self._write("recipes/page.py", RECIPE.format(directory=root, number=self._sleep))

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        own = {"XDG_RUNTIME_DIR": str(self.runtime), "NO_COLOR": "1", "OPSFLOW_AGENT_IDLE": self.idle}
        return {**os.environ, **own}

    def begin(self, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
        usual = {
            "cwd": self.root,
            "env": self.environment,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "start_new_session": True,
        }
        return subprocess.Popen([sys.executable, "-m", "opsflow", *arguments], **{**usual, **settings})

    def good(self, *arguments: str) -> Answer:
        with self.begin(*arguments) as process:
            out, err = process.communicate(timeout=60)
        answer = Answer(arguments, process.returncode, out, err)
        assert answer.code == 0, answer
        return answer

    def agent(self) -> dict[str, Any] | None:
        """What the agent says of itself."""
        for path in self.runtime.rglob("*.sock"):
            if found := connect(path):
                found.socket.close()
                return dict(found.hello)
        return None

    @property
    def pid(self) -> int:
        agent = self.agent()
        assert agent is not None
        return int(agent["pid"])

    def end_agent(self) -> None:
        if agent := self.agent():
            os.kill(agent["pid"], signal.SIGTERM)
            until(lambda: not alive(agent["pid"]))

    @property
    def logins(self) -> int:
        return (self.server.directory / "log").read_text().count("Accepted publickey")

    def waits(self) -> bool:
        """Whether the endless command runs on the host."""
        wanted = f"sleep\0{self._sleep}\0".encode()
        return any(_command_line(found) == wanted for found in Path("/proc").glob("[0-9]*/cmdline"))


@contextmanager
def warm_project(directory: Path, address: str) -> Iterator[WarmProject]:
    """A project whose instance is set up, and no agent yet."""
    with sshd(directory / "sshd", address) as server:
        project = WarmProject(directory / "project", server)
        try:
            project.good("up", "warm", "-y", "--cold")
            assert not list(project.runtime.iterdir())
            yield project
        finally:
            shutil.rmtree(project.runtime)


def _command_line(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
