"""A small project of its own: a stack of sandboxes, recipes that leave traces, and the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from opsflow.clock import SystemClock
from opsflow.model.command import Command
from opsflow.model.machine import Machine
from opsflow.providers.compute.sandbox import SandboxProvider, images
from opsflow.providers.compute.sandbox.disk import Disk
from opsflow.providers.compute.sandbox.processes import Process
from opsflow.store.sql import SqlStore

T = TypeVar("T")
U = TypeVar("U")

CLOCK = SystemClock()
ADDRESSES = Path("/run/opsflow/addresses")
PATIENCE = 120.0
"""Seconds that one command may take on a busy machine; nothing here needs a tenth of it."""

STACK = """\
stack: {name}
compute: {{provider: sandbox}}
attributes: {{greeting: {greeting}}}
layers:
  front:
    recipes: [trace]
    instances: {{front1: {{}}}}
  back:
    recipes: [trace]
    shutdown: {{timeout: 10}}
    instances: {{back1: {{}}, back2: {{}}}}
apps:
  site:
    layers: [back]
    source: {{directory: ./site}}
"""

TRACE = '''\
"""Every event leaves a line when it begins and one when it ends, with the run that it belongs to."""

from io import StringIO

from pyinfra.operations import files, server

from opsflow import Node


def _trace(node, seconds):
    line = f"{node.event.type} %s {node.event.run}"
    server.shell(
        name=f"Trace {node.event.type}",
        commands=[f"echo {line % 'begin'} >>/srv/trace; sleep {seconds}; echo {line % 'end'} >>/srv/trace"],
    )


def setup(node: Node) -> None:
    files.put(name="Greeting", src=StringIO(node.get("greeting")), dest="/srv/greeting")
    _trace(node, 0.3)


def deploy(node: Node) -> None:
    for app in node.deploying:
        files.put(name="Send", src=app.bundle, dest="/srv/site.tar.gz")
        server.shell(name="Unpack", commands=["mkdir -p /srv/site; tar -xzf /srv/site.tar.gz -C /srv/site"])
        _trace(node, 0.2)


def configure(node: Node) -> None:
    _trace(node, 0.1)
    online = "".join(f"{member.name}\\n" for member in node.stack.online)
    files.put(name="Members", src=StringIO(online), dest="/srv/members")


def shutdown(node: Node) -> None:
    _trace(node, 0.3)
'''


@dataclass(frozen=True)
class Answer:
    """What one command said."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"$ opsflow {' '.join(self.argv)}\nexit code {self.code}\n{self.out}{self.err}"


class ScratchProject:
    """A project directory with one stack, ``small``, and everything that must be gone at the end."""

    def __init__(self, root: Path, name: str = "small") -> None:
        self.root = root
        self.name = name
        self.state = root / ".opsflow"
        # opsflow's helpers keep TMPDIR and little else of the environment: by it they can be told apart.
        self.temporary = root / "tmp"
        for part in ("stacks", "recipes", "site", "tmp"):
            (root / part).mkdir(parents=True)
        self.stack_file = root / f"stacks/{name}.yml"
        self.write_stack()
        self.recipe(TRACE, "trace")
        self.release("first")

    # ------------------------------------------------------------------------------------------- files

    def write_stack(self, text: str = STACK, **values: str) -> None:
        self.stack_file.write_text(text.format(**{"name": self.name, "greeting": "hello"} | values))

    def recipe(self, text: str, name: str) -> Path:
        path = self.root / f"recipes/{name}.py"
        path.write_text(textwrap.dedent(text))
        return path

    def release(self, text: str) -> None:
        """Change the app."""
        (self.root / "site/index.html").write_text(text)

    # ------------------------------------------------------------------------------------------- the command line

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "opsflow.cli.main", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.temporary), "NO_COLOR": "1"}

    def opsflow(self, *arguments: str, prefix: Sequence[str] = (), timeout: float = PATIENCE) -> Answer:
        """Run a command to its end."""
        done = subprocess.run(
            [*prefix, *self.argv(*arguments)],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            check=False,
        )
        answer = Answer(arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in answer.out + answer.err, answer
        assert "defect of opsflow" not in answer.err, answer
        return answer

    def good(self, *arguments: str) -> Answer:
        """Run a command that must succeed."""
        answer = self.opsflow(*arguments)
        assert answer.code == 0, answer
        return answer

    @contextmanager
    def begun(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs meanwhile; it is killed at the end when it still does."""
        with subprocess.Popen(
            self.argv(*arguments),
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)

    # ------------------------------------------------------------------------------------------- what is there

    def instances(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.good("status", self.name, "--json").json["instances"]}

    def statuses(self) -> dict[str, str]:
        return {name: each["status"] for name, each in self.instances().items()}

    def runs(self) -> list[dict[str, Any]]:
        """Every run, newest first."""
        return list(self.good("runs", "list", self.name, "--json", "--limit", "1000").json)

    def commands(self) -> Sequence[Command]:
        """Every command there was, oldest first, read from the store."""
        file = self.state / "state.db"
        if not file.exists():
            return ()
        store = SqlStore(file, CLOCK)
        try:
            return store.commands(stack=self.name)
        finally:
            store.close()

    def both(self, first: Callable[[], T], second: Callable[[], U]) -> tuple[T, U]:
        """Two commands at once."""
        with ThreadPoolExecutor(1) as other:
            later = other.submit(second)
            return first(), later.result()

    @property
    def provider(self) -> SandboxProvider:
        return SandboxProvider(self.state / "sandbox", CLOCK)

    def machines(self) -> dict[str, Machine]:
        """The machines that the provider knows, by their id."""
        return {machine.id: machine for machine in self.provider.list(self.name)}

    def process(self, machine: str) -> Process:
        found = Process.read(self.state / "sandbox/machines" / machine / "process.json")
        assert found is not None
        return found

    def on(self, machine: str, path: str) -> str:
        """The text of a file on a host, read from its disk; empty when there is none."""
        disk = Disk(self.state / "sandbox/machines" / machine, Path("/"))

        def read() -> str:
            file = disk.upper / path.lstrip("/")
            return file.read_text() if file.is_file() else ""

        if (process := Process.read(disk.directory / "process.json")) and process.alive:
            file = Path(f"/proc/{process.pid}/root") / path.lstrip("/")
            return file.read_text() if file.is_file() else ""
        return images.mounted(disk.image, disk.layers, CLOCK, read) if disk.image.exists() else read()

    # ------------------------------------------------------------------------------------------- what is left

    def helpers(self) -> dict[int, str]:
        """Processes that an opsflow of this project started, without the machines."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"TMPDIR={self.temporary}\0".encode() in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def inhabitants(self) -> dict[int, str]:
        """First processes of machines: each keeps its log, which is below the project, open."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                log = str((process / "fd/2").readlink())
            except OSError:
                continue
            if log.startswith(f"{self.state}/"):
                found[int(process.name)] = log
        return found

    def leftovers(self) -> list[str]:
        """What a project without machines must not have: mounts, processes, files, addresses."""
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.root) in line]
        sandbox = self.state / "sandbox"
        files = [str(path) for part in ("machines", "records", "locks") for path in (sandbox / part).glob("*")]
        files += [str(path) for path in self.temporary.iterdir()]
        owners = [file.name for file in ADDRESSES.glob("*") if str(self.root) in _text(file)]
        return [*mounts, *files, *owners, *self.inhabitants().values(), *self.helpers().values()]

    def clean_up(self) -> None:
        """Whatever a test did: no machine survives it."""
        for machine in self.provider.list(self.name):
            self.provider.terminate(machine)


def eventually(true: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes true within that time."""
    deadline = CLOCK.monotonic() + seconds
    while not true():
        if CLOCK.monotonic() > deadline:
            return False
        CLOCK.sleep(0.05)
    return True


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
