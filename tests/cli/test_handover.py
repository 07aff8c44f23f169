"""A command that is handed over to a prepared process is in everything like one of its client's own process."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from opsflow.cli.handover import wanted
from opsflow.clock import SystemClock

CLOCK = SystemClock()
PROGRAM = Path(__file__).with_name("prepared_program.py")
DECLINED = 99


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    end = CLOCK.monotonic() + seconds
    while not (value := condition()):
        assert CLOCK.monotonic() < end, "it did not happen"
        CLOCK.sleep(0.01)
    return value


def state(pid: int) -> str:
    """``R``, ``S``, ``T``...; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


class Prepared:
    """A prepared process of a project."""

    def __init__(self, directory: Path) -> None:
        self.project = directory / "project"
        (self.project / "stacks").mkdir(parents=True)
        runtime = Path(tempfile.mkdtemp(prefix="fork-"))  # names of sockets must be short
        weakref.finalize(self, shutil.rmtree, runtime, ignore_errors=True)
        (runtime / "opsflow").mkdir(parents=True, mode=0o700)
        self.socket = runtime / "opsflow/0123456789abcdef.fork"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "OPSFLOW_WARM": "1"}
        self.server = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        server = subprocess.Popen(
            [sys.executable, str(PROGRAM), "serve", str(self.socket)],
            stdin=subprocess.PIPE, cwd="/", env={**self.environment, "OF_THE_SERVER": "secret"}, start_new_session=True,
        )  # fmt: skip
        until(self.socket.exists)
        return server

    def stop(self) -> None:
        """Have it end, as its agent does."""
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(20)

    def kill(self) -> None:
        self.server.kill()
        self.stop()

    def ask(self, *words: str, **settings: Any) -> subprocess.Popen[bytes]:
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        given.setdefault("env", self.environment)
        given.setdefault("cwd", self.project)
        return subprocess.Popen([sys.executable, str(PROGRAM), "ask", str(self.socket), "run", *words], **given)

    def answer(self, *words: str, **settings: Any) -> tuple[int, bytes, bytes]:
        data = settings.pop("data", None)
        with self.ask(*words, **settings) as client:
            out, err = client.communicate(data, timeout=30)
        return client.returncode, out, err

    def told(self, **settings: Any) -> dict[str, Any]:
        code, out, err = self.answer("tell", **settings)
        assert (code, err) == (0, b""), (code, err)
        return dict(json.loads(out))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    made = Prepared(tmp_path_factory.mktemp("prepared"))
    yield made
    made.stop()
    assert not made.socket.exists()


@contextmanager
def waiting(prepared: Prepared, file: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command that waits for a signal, and its pid, which is not the client's."""
    with prepared.ask("wait", str(file), **settings) as client:
        try:
            pid = int(until(lambda: file.exists() and file.read_text()))
            assert pid != client.pid
            yield client, pid
        finally:
            if client.poll() is None:
                client.kill()


# ------------------------------------------------------------------------------------------------ what it sees


def test_it_sees_what_its_client_is_and_nothing_of_the_server(prepared: Prepared, tmp_path: Path) -> None:
    inside = prepared.project / "with space"
    inside.mkdir()
    environment = {**prepared.environment, "TZ": "Asia/Tokyo", "MINE": "a\nb", "ODD": "\udcff"}
    seen = prepared.told(cwd=inside, env=environment, umask=0o027)
    assert seen["argv"] == ["opsflow", "run", "tell"]
    assert seen["directory"] == str(inside)
    assert {k: v for k, v in seen["environment"].items() if k != "LC_CTYPE"} == {
        k: v for k, v in environment.items() if k != "LC_CTYPE"
    }
    assert seen["zone"] == ["JST", "JST"]
    assert seen["mask"] == 0o027
    assert seen["interrupt"]
    assert seen["main"]
    assert seen["blocked"] == []
    assert len([number for number in seen["descriptors"] if number]) == 1  # its client's socket
    assert seen["threads"] == 2  # the other one waits for the end of the client
    assert [stream[3] for stream in seen["streams"]] == [False, False, False]


@pytest.mark.parametrize("extra", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_it_is_as_python_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    for name, value in extra.items():
        monkeypatch.setenv(name, value)
    prepared = Prepared(tmp_path)
    here = subprocess.run(
        [sys.executable, "-c", "import prepared_program as p, json; print(json.dumps(p.seen()))"],
        cwd=PROGRAM.parent, env=prepared.environment, stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    there = prepared.told()
    mine = json.loads(here.stdout)
    for what in ("name", "locale", "limits", "processors", "priority", "blocked", "ignored", "interrupt", "mask"):
        assert there[what] == mine[what], what
    assert there["streams"] == mine["streams"]
    prepared.stop()


def test_two_at_once_have_nothing_of_each_other(prepared: Prepared, tmp_path: Path) -> None:
    with waiting(prepared, tmp_path / "file", env={**prepared.environment, "SECRET": "first"}) as (long, pid):
        other = prepared.told(env={**prepared.environment, "OTHER": "second"})
        assert "SECRET" not in other["environment"]
        assert other["environment"]["OTHER"] == "second"
        assert len([number for number in other["descriptors"] if number]) == 1
        assert other["random"] != prepared.told()["random"]
        long.terminate()
        assert long.wait(20) == 100 + signal.SIGTERM


def test_limits_are_those_of_the_client(prepared: Prepared) -> None:
    seen = prepared.told(preexec_fn=_limited)
    assert seen["limits"] == [100, 200]
    assert seen["priority"] == 3
    assert seen["processors"] == [min(os.sched_getaffinity(0))]
    ours = {signal.SIGQUIT} if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN else set()
    assert seen["ignored"] == sorted({signal.SIGHUP, signal.SIGPIPE, *ours})


def _limited() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
    os.nice(3)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


# ------------------------------------------------------------------------------------------------ streams


def test_its_streams_are_the_clients(prepared: Prepared) -> None:
    assert prepared.answer("echo", data="ü\n".encode() * 100_000, stdin=subprocess.PIPE) == (
        0, "ü\n".encode() * 100_000, b"done\n",
    )  # fmt: skip


def test_a_terminal_is_one_and_has_its_width(prepared: Prepared) -> None:
    for columns in (43, 140):
        main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        with closing(os.fdopen(main, "rb", buffering=0)) as screen:
            code, _, _ = prepared.answer("size", stdout=other)
            os.close(other)
            assert (code, screen.read(100)) == (0, f"{columns} True\r\n".encode())


# ------------------------------------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("code", [0, 1, 65, 130, 255])
def test_its_exit_code_is_the_clients(prepared: Prepared, code: int) -> None:
    assert prepared.answer("exit", str(code)) == (code, b"", b"")


def test_one_that_ends_at_once_has_its_exit_code(prepared: Prepared) -> None:
    assert prepared.answer("at_once") == (7, b"", b"")


def test_one_that_fails_shows_why(prepared: Prepared) -> None:
    code, out, err = prepared.answer("raise")
    assert (code, out) == (1, b"")
    assert err.endswith(b"RuntimeError: broken\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_ends_it_ends_the_client(prepared: Prepared, number: int) -> None:
    assert prepared.answer("signal", str(number)) == (-number, b"", b"")


def test_one_that_is_killed_is_a_failure_and_is_said(prepared: Prepared) -> None:
    code, out, err = prepared.answer("signal", str(signal.SIGKILL))
    assert (code, out) == (1, b"")
    assert err.startswith(b"error: the prepared process that ran this command was ended in the middle")


# ------------------------------------------------------------------------------------------------ signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGWINCH])
def test_signals_go_to_the_command(prepared: Prepared, tmp_path: Path, number: int) -> None:
    with waiting(prepared, tmp_path / "file") as (client, pid):
        client.send_signal(number)
        assert client.wait(20) == 100 + number
        assert not state(pid)


def test_what_the_client_ignores_the_command_ignores(prepared: Prepared, tmp_path: Path) -> None:
    with waiting(prepared, tmp_path / "file", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as (
        client,
        pid,
    ):
        for _ in range(3):
            client.send_signal(signal.SIGHUP)
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 100 + signal.SIGINT


def test_it_stops_and_goes_on_with_its_client(prepared: Prepared, tmp_path: Path) -> None:
    with waiting(prepared, tmp_path / "file", process_group=0) as (client, pid):
        client.send_signal(signal.SIGTSTP)
        until(lambda: state(pid) == state(client.pid) == "T")
        client.send_signal(signal.SIGCONT)
        until(lambda: "T" not in (state(pid), state(client.pid)))
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 100 + signal.SIGINT


def test_a_client_that_is_killed_takes_it_along(prepared: Prepared, tmp_path: Path) -> None:
    with waiting(prepared, tmp_path / "file") as (client, pid):
        client.kill()
        client.wait(20)
        until(lambda: not state(pid))
        assert (tmp_path / "file").read_text() == f"signal {signal.SIGTERM}"


def test_a_client_that_is_killed_while_it_is_stopped_takes_it_along(prepared: Prepared, tmp_path: Path) -> None:
    with waiting(prepared, tmp_path / "file", process_group=0) as (client, pid):
        client.send_signal(signal.SIGTSTP)
        until(lambda: state(pid) == state(client.pid) == "T")
        client.kill()
        client.wait(20)
        until(lambda: not state(pid))


def test_the_terminals_interrupt_reaches_it(prepared: Prepared, tmp_path: Path) -> None:
    main, other = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    streams = {"stdin": other, "stdout": other, "stderr": other}
    with waiting(prepared, tmp_path / "file", preexec_fn=take_terminal, **streams) as (client, _):
        os.write(main, b"\x03")
        assert client.wait(20) == 100 + signal.SIGINT
        os.close(main)
        os.close(other)


# ------------------------------------------------------------------------------------------------ when it cannot be


def test_where_nobody_listens_nothing_is_handed_over(tmp_path: Path) -> None:
    own = Prepared(tmp_path)
    assert own.answer("exit", "0")[0] == 0
    own.kill()
    assert own.socket.exists()
    assert own.answer("exit", "0") == (DECLINED, b"", b"")
    own.socket.unlink()
    own.server = own.start()
    assert own.answer("exit", "0")[0] == 0
    own.stop()
    assert own.answer("exit", "0")[0] == DECLINED


def test_a_server_that_is_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    own = Prepared(tmp_path / "own")
    with waiting(own, tmp_path / "file") as (client, _):
        own.kill()
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 100 + signal.SIGINT


def test_a_server_that_ends_waits_for_what_it_runs(tmp_path: Path) -> None:
    own = Prepared(tmp_path / "own")
    with waiting(own, tmp_path / "file") as (client, _):
        assert own.server.stdin is not None
        own.server.stdin.close()
        until(lambda: not own.socket.exists())
        assert own.server.poll() is None
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 100 + signal.SIGINT
        assert own.server.wait(20) == 0


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_without_a_stream_it_is_not_handed_over(prepared: Prepared, descriptor: int) -> None:
    assert prepared.answer("exit", "0", preexec_fn=lambda: os.close(descriptor))[0] == DECLINED


def test_what_modules_read_of_the_environment_must_be_the_same(prepared: Prepared) -> None:
    environment = {**prepared.environment, "TYPER_USE_RICH": "0"}
    assert prepared.answer("exit", "0", env=environment)[0] == DECLINED


def test_a_place_that_others_can_enter_is_not_used(prepared: Prepared) -> None:
    prepared.socket.parent.chmod(0o755)
    try:
        assert prepared.answer("exit", "0")[0] == DECLINED
    finally:
        prepared.socket.parent.chmod(0o700)


@pytest.mark.sandbox
def test_another_user_is_not_served(tmp_path: Path) -> None:
    with open_to_all(Prepared(Path(tempfile.mkdtemp(prefix="prepared-")))) as own:
        stranger = subprocess.run([sys.executable, str(PROGRAM), "intrude", str(own.socket)], check=False)
        assert stranger.returncode == 0


@contextmanager
def open_to_all(own: Prepared) -> Iterator[Prepared]:
    directory = own.project.parent
    try:
        for path in (directory, own.socket.parents[1], own.socket.parent, own.socket):
            path.chmod(0o777)
        yield own
        own.stop()
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ("run shop setup --warm", {}, True),
        ("--warm run shop setup", {}, True),
        ("-C dir --warm run shop setup", {}, True),
        ("run shop setup", {"OPSFLOW_WARM": "1"}, True),
        ("exec shop --warm -- echo", {}, True),
        ("run shop setup", {}, False),
        ("run shop setup", {"OPSFLOW_WARM": "0"}, False),
        ("run shop setup --warm --cold", {}, False),
        ("--cold run shop setup", {"OPSFLOW_WARM": "1"}, False),
        ("exec shop -- echo --warm", {}, False),
        ("ssh shop web1 --warm", {}, False),
        ("agent stop --warm", {}, False),
        ("--warm", {}, False),
        ("run shop setup --warm", {"OPSFLOW_DEBUG": "1"}, False),
        ("run shop setup --warm", {"_OPSFLOW_COMPLETE": "bash"}, False),
        ("up shop --warm -y", {}, True),
    ],
)
def test_what_is_handed_over(words: str, environment: dict[str, str], *, expected: bool) -> None:
    assert wanted(words.split(), environment) is expected


def test_a_command_that_may_ask_on_a_terminal_is_not_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    assert not wanted(["up", "shop", "--warm"], {})
    assert wanted(["up", "shop", "--warm", "--yes"], {})
    assert wanted(["run", "shop", "setup", "--warm"], {})
