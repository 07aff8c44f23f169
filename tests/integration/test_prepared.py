"""Commands that are run in a fork of the prepared process, with a real agent and a real host: nothing is different."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_hosts import until
from warm_project import WarmProject, alive, warm_project

import opsflow
from opsflow.engine.agent.start import connect

pytestmark = pytest.mark.sandbox

ORDINARY = {"PYTHONX": "1"}
"""Of another Python's environment: there is an agent for it, and no prepared process."""


class Handing(WarmProject):
    """What is asked of both ways."""

    def agent(self) -> dict[str, Any] | None:
        """Of several (somebody may be changing opsflow's files right now) the newest."""
        for path in sorted(self.runtime.rglob("*.sock"), key=lambda path: path.stat().st_mtime, reverse=True):
            if found := connect(path):
                found.socket.close()
                return dict(found.hello)
        return None

    def forks(self) -> int:
        """Grows with every command that was handed over."""
        stat = Path(f"/proc/{self.prepared_pid}/stat").read_text().rpartition(")")[2].split()
        return int(stat[8])  # page faults of children that ended

    @property
    def prepared_pid(self) -> int:
        agent = self.agent()
        assert agent is not None
        assert agent["prepared_pid"] is not None
        return int(agent["prepared_pid"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handing]:
    with warm_project(tmp_path_factory.mktemp("prepared"), "127.79.4.1") as made:
        made.__class__ = Handing
        assert isinstance(made, Handing)
        yield made
        while made.agent():
            made.end_agent()


@pytest.fixture
def project(kept: Handing) -> Handing:
    """The project with an agent and its prepared process."""
    kept.good("agent", "start")
    until(lambda: list(kept.runtime.rglob("*.fork")))
    return kept


def bytes_of(project: Handing, *words: str, **settings: Any) -> tuple[int, bytes, bytes]:
    with project.begin(*words, text=False, **settings) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def without_numbers(found: tuple[int, bytes, bytes]) -> tuple[int, bytes, bytes]:
    code, *texts = found
    out, err = (re.sub(rb" +", b" ", re.sub(rb"[0-9]+", b"N", text or b"")) for text in texts)
    return code, out, err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run warm page.setup --warm", 0),
        ("run warm page.broken --warm", 1),
        ("run warm page.absent --warm", 64),
        ("run warm --warm", 64),
        ("run warm page.setup --warm --jsonl", 0),
        ("--warm exec warm -- echo ü; exit 7", 1),
        ("status warm --warm --json", 0),
    ],
)
def test_output_and_exit_code_are_the_same(project: Handing, words: str, code: int) -> None:
    arguments = words.split(maxsplit=4) if "--" in words.split() else words.split()
    before = project.forks()
    handed = bytes_of(project, *arguments)
    assert project.forks() > before
    before = project.forks()
    ordinary = bytes_of(project, *arguments, env={**project.environment, **ORDINARY})
    assert project.forks() == before
    assert without_numbers(handed) == without_numbers(ordinary)
    assert handed[0] == code, handed


def test_many_at_once_do_not_mix(project: Handing) -> None:
    before = project.forks()
    many = [project.begin("exec", "warm", "--warm", "--", f"echo number {number}") for number in range(6)]
    said = [process.communicate(timeout=60)[0] for process in many]
    for number, text in enumerate(said):  # login files of this machine may say something of their own
        assert text.count("number") == text.count(f"[here] number {number}\n") == 1
    assert project.forks() > before


def test_a_cold_one_and_one_that_does_not_ask_are_run_here(project: Handing) -> None:
    before = project.forks()
    project.good("status", "warm")
    project.good("status", "warm", "--cold")
    assert project.forks() == before


# ------------------------------------------------------------------------------------------------ streams


def test_a_terminal_has_its_width_and_colours(project: Handing) -> None:
    columns = 60
    colourful = {name: value for name, value in project.environment.items() if name != "NO_COLOR"}
    environment = {**colourful, "TERM": "xterm"}
    words = ("status", "warm", "--warm")
    handed = shown(project, columns, *words, env=environment)
    assert b"\x1b[" in handed
    assert max(len(re.sub(rb"\x1b[^m]*m", b"", line)) for line in handed.splitlines()) <= columns
    assert handed == shown(project, columns, *words, env={**environment, **ORDINARY})


def test_a_run_on_a_terminal_moves(project: Handing) -> None:
    environment = {**project.environment, "TERM": "xterm"}
    assert b"\x1b[?25l" in shown(project, 80, "run", "warm", "page.setup", "--warm", env=environment)


def shown(project: Handing, columns: int, *words: str, **settings: Any) -> bytes:
    """What a terminal of this width gets, on stdout and stderr."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    found = b""
    with project.begin(*words, stdin=other, stdout=other, stderr=other, text=False, **settings) as process:
        while process.poll() is None or select.select([main], [], [], 0)[0]:
            if select.select([main], [], [], 0.05)[0]:
                found += os.read(main, 65536)
        assert process.returncode == 0, found
    os.close(other)
    os.close(main)
    return found


def test_a_stream_that_cannot_be_written(project: Handing) -> None:
    words = ("status", "warm", "--warm", "--json")
    with Path("/dev/full").open("wb") as full:
        code, _, err = bytes_of(project, *words, stdout=full)
        assert (code, err) == (1, b"error: stdout cannot be written: No space left on device\n")
    read, write = os.pipe()
    os.close(read)
    assert bytes_of(project, *words, stdout=write) == (0, None, b"")
    os.close(write)
    assert bytes_of(project, *words, preexec_fn=lambda: os.close(1)) == (0, b"", b"")


# ------------------------------------------------------------------------------------------------ in the middle


@contextmanager
def endless(project: Handing) -> Iterator[subprocess.Popen[str]]:
    """A run that was handed over and does not end by itself, once it is on the host."""
    with project.begin("run", "warm", "page.endless", "--warm") as process:
        try:
            until(project.waits)
            assert children(project.prepared_pid)
            yield process
        finally:
            process.kill()
    until(lambda: not children(project.prepared_pid))


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_on_the_host(project: Handing, number: int) -> None:
    with endless(project) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "cancelling: waiting for the hosts to stop" in err
    assert not project.waits()


def test_a_second_interrupt_forces_it(project: Handing) -> None:
    agent = project.pid
    with endless(project) as process:
        os.kill(agent, signal.SIGSTOP)  # so that the first one is not enough
        try:
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while "cancelling" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        finally:
            os.kill(agent, signal.SIGCONT)
    until(lambda: not project.waits())


def test_a_hangup_ends_it(project: Handing) -> None:
    with endless(project) as process:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGHUP
    until(lambda: not project.waits())


def test_one_whose_client_is_killed_is_cancelled(project: Handing) -> None:
    with endless(project) as process:
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not project.waits())
    (run, *_) = project.good("runs", "list", "--json").json
    assert run["status"] not in ("running", "successful")


def test_one_that_is_killed_is_said_and_is_not_run_again(project: Handing) -> None:
    with endless(project) as process:
        (pid,) = children(project.prepared_pid).split()
        os.kill(int(pid), signal.SIGKILL)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "error: the prepared process that ran this command was ended in the middle" in err
    until(lambda: not project.waits())


# ------------------------------------------------------------------------------------------------ when it is not there


def test_without_it_everything_goes_on(project: Handing) -> None:
    agent = project.pid
    (row,) = project.good("agent", "status", "--json").json["agents"]
    os.kill(row["prepared_pid"], signal.SIGKILL)
    until(lambda: not alive(row["prepared_pid"]))
    assert "here" in project.good("exec", "warm", "--warm", "--", "echo", "here").out
    (row,) = project.good("agent", "status", "--json").json["agents"]
    assert (row["pid"], row["prepared_pid"]) == (agent, None)
    assert " - " in project.good("agent", "status").out
    project.good("agent", "stop")
    for left in project.runtime.rglob("*.fork"):
        left.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_agent(project: Handing, number: int) -> None:
    agent, prepared = project.pid, project.prepared_pid
    os.kill(agent, number)
    until(lambda: not alive(agent) and not alive(prepared))
    assert not list(project.runtime.rglob("*.fork"))


def test_changed_code_gets_another_one(project: Handing, tmp_path: Path) -> None:
    shutil.copytree(Path(opsflow.__file__).parent, tmp_path / "opsflow", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "opsflow/cli/status.py"
    file.write_text(file.read_text() + "\n")
    environment = {**project.environment, "PYTHONPATH": str(tmp_path)}
    sockets = set(project.runtime.rglob("*.fork"))
    words = ("status", "warm", "--warm", "--json")
    started = bytes_of(project, "agent", "start", "--json", env=environment)
    (agent,) = json.loads(started[1])["agents"]
    (new,) = until(lambda: set(project.runtime.rglob("*.fork")) - sockets)
    unchanged = bytes_of(project, *words, env=environment)
    assert (unchanged[0], unchanged[2]) == (0, b"")
    file.write_text(file.read_text() + "print('changed')\n")
    changed = bytes_of(project, *words, env=environment)
    assert changed == (0, b"changed\n" + unchanged[1], b"")
    assert new.exists()  # and nobody asks there any more
    os.kill(agent["pid"], signal.SIGTERM)
    until(lambda: not alive(agent["pid"]) and not alive(agent["prepared_pid"]))
