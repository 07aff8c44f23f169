"""The program as a process of its own: on a terminal, in a pipe, and when it is interrupted."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from cli_world import write_project
from fake_program import adapters

from opsflow.cli.main import run

PROGRAM = Path(__file__).with_name("fake_program.py")
PATIENCE = 20.0
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A stack that has no machines yet."""
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def running(project: Path) -> Path:
    """A stack that is up."""
    assert here(project, "up", "shop", "-y")[0] == 0
    return project


def here(project: Path, *argv: str) -> tuple[int, str]:
    """Run the same program in this process: exit code and stdout."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = run(["-C", str(project), *argv], adapters(project / "machines", []))
    return code, out.getvalue()


def data(project: Path, *argv: str) -> Any:
    return json.loads(here(project, *argv, "--json")[1])


def environment(project: Path, rules: object = (), **more: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    return {
        **kept, "FAKE_MACHINES": str(project / "machines"), "FAKE_RULES": json.dumps(rules), "TERM": "xterm",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]), **more,
    }  # fmt: skip


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.text = ""

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while words not in ANSI.sub("", self.text):
            assert self._read(deadline), f"never saw {words!r} in:\n{self.text}"

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self.master, 65536) if ready else b""
        except OSError:  # the program closed the terminal
            data = b""
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def on_a_terminal(project: Path, *argv: str, rules: object = (), columns: int = 80, **more: str) -> Iterator[Screen]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    process = subprocess.Popen(
        [sys.executable, PROGRAM, *argv], cwd=project, env=environment(project, rules, **more),
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Screen(master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)


# ------------------------------------------------------------------------------------------------ asking


def test_up_asks_on_a_terminal_and_does_it(project: Path) -> None:
    with on_a_terminal(project, "up", "shop") as screen:
        screen.wait_for("Do this? [y/N]")
        assert "\x1b[32m" in screen.text
        screen.type("y\n")
        assert screen.end() == 0
        assert "successful" in screen.text
    assert data(project, "status", "shop")["instances"][0]["status"] == "online"


def test_others_may_write_while_the_question_waits(project: Path) -> None:
    with on_a_terminal(project, "up", "shop") as screen:
        screen.wait_for("Do this?")
        assert here(project, "up", "shop", "-y")[0] == 0
        screen.type("y\n")
        assert screen.end() == 0
        assert "The stack changed in the meantime." in screen.text
        assert screen.text.count("Do this?") == 1, "then there was nothing to do"
    assert len(data(project, "runs", "list")) == 1


def test_another_plan_than_the_one_agreed_to_is_asked_for_again(project: Path) -> None:
    with on_a_terminal(project, "up", "shop") as screen:
        screen.wait_for("Do this?")
        assert here(project, "start", "shop", "app1")[0] == 0
        screen.type("y\n")
        screen.wait_for("The stack changed in the meantime.")
        screen.wait_for("Do this? [y/N] y")
        screen.type("n\n")
        assert screen.end() == 0
        assert "Nothing was done." in screen.text
        assert screen.text.count("create app1") == 1
    assert [run["action"] for run in data(project, "runs", "list")] == ["start"]


def test_interrupting_the_question_is_130(project: Path) -> None:
    with on_a_terminal(project, "up", "shop") as screen:
        screen.wait_for("Do this?")
        screen.process.send_signal(signal.SIGINT)
        assert screen.end() == 130
        assert "Traceback" not in screen.text


# ------------------------------------------------------------------------------------------------ how it looks


def test_the_live_view_shows_what_each_host_does(project: Path) -> None:
    rules = [["hang", "app1", "web.setup"]]
    with on_a_terminal(project, "up", "shop", "-y", rules=rules) as screen:
        screen.wait_for("[app1] 1/1 web.setup")
        os.kill(screen.process.pid, signal.SIGINT)
        assert screen.end() == 130
        assert screen.text.rindex("\x1b[?25h") > screen.text.index("\x1b[?25l"), "the cursor came back"


def test_a_closed_pipe_is_quiet(running: Path) -> None:
    command = f"{sys.executable} {PROGRAM} events shop | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=running, env=environment(running), capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def to_a_full_disk(project: Path, *argv: str, streams: str = ">/dev/full") -> subprocess.CompletedProcess[str]:
    """Run the program with streams that cannot be written."""
    return subprocess.run(
        ["bash", "-c", f"{shlex.join([sys.executable, str(PROGRAM), *argv])} {streams}"], cwd=project, text=True,
        env=environment(project), capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["--jsonl", "--json"])
def test_a_run_whose_output_cannot_be_written_goes_on(form: str, running: Path) -> None:
    done = to_a_full_disk(running, "run", "shop", "web.restart", form)
    assert done.returncode == 1
    assert done.stderr.endswith("\nerror: stdout cannot be written: No space left on device\n")
    assert "[app1] changed" in done.stderr
    found = data(running, "runs", "show", "2")
    assert (found["status"], [each["status"] for each in found["instances"]]) == ("successful", ["successful"] * 3)


@pytest.mark.parametrize("argv", [("status", "shop"), ("events", "shop", "-f"), ("status", "shop", "-w"), ("--help",)])
def test_data_that_cannot_be_written_is_one_clear_line(argv: tuple[str, ...], running: Path) -> None:
    done = to_a_full_disk(running, *argv)
    assert (done.returncode, done.stderr) == (1, "error: stdout cannot be written: No space left on device\n")


@pytest.mark.parametrize("streams", ["2>/dev/full", ">/dev/full 2>&1"])
def test_a_run_goes_on_when_nothing_can_be_said(streams: str, running: Path) -> None:
    done = to_a_full_disk(running, "run", "shop", "web.restart", streams=streams)
    assert done.returncode == 1
    assert data(running, "runs", "show", "2")["status"] == "successful"


# ------------------------------------------------------------------------------------------------ ^C


def test_the_first_interrupt_cancels_cleanly(project: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "up", "shop", "-y", "-vv"], cwd=project, text=True, stdin=subprocess.DEVNULL,
        env=environment(project, [["hang", "app1", "web.setup"]]), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("[app1] 1/1 web.setup"):
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "cancelling: waiting for the hosts to stop" in rest
    assert "Retry with: opsflow runs retry 1 --failed" in rest
    assert data(project, "runs", "show", "1")["status"] == "cancelled"


def test_the_second_interrupt_forces() -> None:
    code = (
        "import time\nfrom opsflow.cli.interrupt import Interruptible\nfrom opsflow.cli.terminal import Terminal\n"
        "with Interruptible(Terminal()):\n    print('ready', flush=True)\n    while True: time.sleep(0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    while "cancelling" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "forced" in rest


def test_following_ends_with_the_interrupt(running: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "events", "shop", "-f"], cwd=running, env=environment(running), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
