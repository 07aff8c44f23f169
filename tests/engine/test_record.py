"""The run record: what a shell that has lost its connection did is read back from the host."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_doubles import SHELLS, Host, LocalConnection, alive, open_host, sh, until
from hypothesis import given
from hypothesis import strategies as st

from opsflow.engine import record
from opsflow.engine.messages import PlannedOperation
from opsflow.engine.record import Begun, Record, parse, rest_of
from opsflow.engine.script import compile_operations

IDENTITY = "0123456789abcdef.01234567"
MARK = f"{IDENTITY}.30"
SHELL = "s 12 3456 b00t 13 14 /run/opsflow.x 3 3.1 2026-01-02T03:04:05+00:00"

LINES = [SHELL, f"b 0 0 {MARK} 1", f"b 1 0 {MARK} 1", "e 0 0", "n 0", "e 1 1", "b", ""]


def text(*lines: str, state: str = "over") -> str:
    return "\n".join([f"{state} 12 100.5", *lines, ""])


class TestReading:
    def test_commands_and_how_they_ended(self) -> None:
        read = parse(text(SHELL, f"b 0 2 {MARK} 90.25", "e 0 0", f"b 1 2 {MARK} 91", "e 1 7"))
        assert read.commands == (
            Begun("3", 0, 0, 2, IDENTITY, 30.0, 90.25, 0),
            Begun("3", 0, 1, 2, IDENTITY, 30.0, 91.0, 7),
        )
        assert (read.origin, read.moment, read.last, read.running) == ("3.1", "2026-01-02T03:04:05+00:00", 2, False)

    def test_one_that_runs(self) -> None:
        read = parse(text(SHELL, f"b 0 2 {MARK} 90.25", state="running"))
        assert (read.running, read.shell, read.uptime) == (True, 12, 100.5)

    def test_one_that_did_not_begin_after_all(self) -> None:
        assert parse(text(SHELL, f"b 0 2 {MARK} 90", "n 0")).commands == ()

    def test_a_later_shell_goes_on(self) -> None:
        later = SHELL.replace("s 12 3456", "s 99 4000").replace(" 3 3.1 ", " 4 3.1 ")
        read = parse(text(SHELL, f"b 0 0 {MARK} 1", "e 0 0", later, f"b 0 1 {MARK} 2", "e 0 0"))
        assert [(command.run, command.shell, command.operation) for command in read.commands] == [
            ("3", 0, 0), ("4", 1, 1)
        ]  # fmt: skip

    def test_a_record_that_moved_is_there_twice(self) -> None:
        begun = [SHELL, f"b 0 0 {MARK} 1", "e 0 0"]
        read = parse(text(*begun, "b 1 0 0123", "", *begun, "", f"b 1 0 {MARK} 2", "e 1 3"))
        assert [(command.number, command.code) for command in read.commands] == [(0, 0), (1, 3)]

    @given(
        st.text() | st.lists(st.sampled_from([SHELL, f"b 0 0 {MARK} 1", "e 0 0", "n 0", "e 1 1", "b"])).map("\n".join)
    )
    def test_anything_is_read(self, anything: str) -> None:
        read = parse(anything)
        assert all(command.shell < len(read.shells) for command in read.commands)
        assert parse("") == Record()

    def test_the_rest_of_the_output(self) -> None:
        nonce = "0" * 24
        stream = f"old\x1e{nonce} c 0 0\x1e\x1e{nonce} s 1 5 6\x1emine\n\x1e{nonce} x 1 0\x1eend\x1e{nonce} c 1 0\x1eno"
        assert rest_of(stream, 1) == "mine\nend"
        errors = f"of another\x1e{nonce} c 0\x1emine\n\x1e{nonce} c 1\x1eno"
        assert rest_of(errors, 1) == "mine\n"
        assert rest_of("no frames at all", 1) == "no frames at all"


NAME = "f" * 32
HOME = Path(f"/run/opsflow-{os.getuid()}")
DIRECTORIES = [Path(d) / f"opsflow-{os.getuid()}" for d in ("/run", "/dev/shm", "/tmp", "/var/tmp")]  # noqa: S108


@pytest.fixture
def name() -> Iterator[str]:
    name = f"{os.getpid():032x}"
    yield name
    for directory in DIRECTORIES:
        for file in directory.glob(f"{name}*"):
            file.unlink()


@pytest.fixture(params=SHELLS)
def kind(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return SHELLS[request.param]


def noted(host: Host, name: str) -> None:
    """As under the lock, which the tests of this machine do not take."""
    host.fetch("true")
    host.shell._first = f"_u={os.getuid()} _jk={name} _jh='7 7.1 now'\n"


def lose(host: Host) -> None:
    """The connection ends: nobody reads any more, and standard input is at its end."""
    process = host.shell.channel._process  # type: ignore[attr-defined]
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def attended(kind: tuple[str, ...], cwd: Path, name: str, seconds: int = 10) -> tuple[Record | None, str, str]:
    with open_host(kind, cwd) as other:
        read = other.shell.attend(name, seconds, "tests", 1, other.limits())
        pid = read.shell if read is not None else 0
        return read, other.shell.rest(pid, "o", other.limits()), other.shell.rest(pid, "e", other.limits())


class Lost:
    """A command runs on a host, and the connection is lost in the middle of it."""

    def __init__(self, kind: tuple[str, ...], cwd: Path, name: str, *scripts: str) -> None:
        self.kind, self.cwd, self.name = kind, cwd, name
        self._context = open_host(kind, cwd)
        self.host = self._context.__enter__()
        noted(self.host, name)
        operations = [
            PlannedOperation(index=i, name=f"op{i}", operation="t", recipe="t.t", steps=(sh(text),))
            for i, text in enumerate(scripts)
        ]
        program = compile_operations(operations, self.host.shell.numbers, {}, fresh=())
        self.host.shell.channel.send(f"{self.host.shell._first}{program.text}".encode())
        until((cwd / "begun").exists)
        shells = [line.split() for line in (HOME / name).read_text().splitlines() if line.startswith("s ")]
        self.directory = Path(shells[-1][6])

    def lose(self) -> None:
        lose(self.host)

    def attend(self, seconds: int = 10) -> tuple[Record | None, str, str]:
        return attended(self.kind, self.cwd, self.name, seconds)

    @property
    def pid(self) -> int:
        return self.host.shell.pid


class TestALostConnection:
    def test_a_command_goes_on_and_nothing_after_it(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        talk = "touch begun; until [ -e go ]; do sleep 0.1; done; seq 40000; echo oops >&2; echo done >end; exit 3"
        lost = Lost(kind, tmp_path, name, "echo first", talk, "touch wrong")
        lost.lose()
        (tmp_path / "go").touch()
        read, out, err = lost.attend()
        assert read is not None
        assert [(command.operation, command.code) for command in read.commands] == [(0, 0), (1, 3)]
        assert (read.running, read.origin) == (False, "7.1")
        assert (tmp_path / "end").read_text() == "done\n"
        assert not (tmp_path / "wrong").exists()
        assert rest_of(out, 1).endswith("39999\n40000\n")
        assert rest_of(err, 1) in ("oops\n", ""), "at most what was on its way is missing"
        until(lambda: not alive(lost.pid))
        assert not lost.directory.exists()

    def test_a_silent_command(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        lost = Lost(kind, tmp_path, name, "touch begun; sleep 1", "touch wrong")
        lost.lose()
        read, _, _ = lost.attend()
        assert read is not None
        assert [(command.operation, command.code) for command in read.commands] == [(0, 0)]
        assert not (tmp_path / "wrong").exists()

    def test_one_that_takes_longer_than_we_wait(self, tmp_path: Path, name: str) -> None:
        lost = Lost(SHELLS["dash"], tmp_path, name, "touch begun; sleep 300")
        lost.lose()
        read, _, _ = lost.attend(1)
        assert read is not None
        assert (read.running, read.shell) == (True, lost.pid)
        os.kill(lost.pid, signal.SIGKILL)

    def test_a_connection_that_only_seems_to_stand(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        """The command prints more than anybody takes: it is blocked until somebody attends to it."""
        lost = Lost(kind, tmp_path, name, "touch begun; seq 400000; touch end", "touch wrong")
        assert not (tmp_path / "end").exists()
        read, out, _ = lost.attend()
        assert read is not None
        assert [(command.operation, command.code) for command in read.commands] == [(0, 0)]
        assert rest_of(out, 0).endswith("399999\n400000\n")
        assert not (tmp_path / "wrong").exists()
        assert not alive(lost.pid)

    def test_a_shell_that_was_killed(self, tmp_path: Path, name: str) -> None:
        lost = Lost(SHELLS["dash"], tmp_path, name, "touch begun; sleep 300")
        LocalConnection(("dash",), tmp_path).call(f"kill -9 {lost.pid}", 5)
        read, _, _ = lost.attend(1)
        assert read is not None
        assert (read.running, read.commands[-1].code) == (False, None)
        assert not lost.directory.exists()

    def test_a_daemon_that_keeps_the_output(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        lost = Lost(kind, tmp_path, name, "touch begun; sleep 1; sleep 60 & echo $! >daemon; echo said", "touch wrong")
        lost.lose()
        read, _, _ = lost.attend()
        assert read is not None
        assert read.commands[-1].code == 0
        daemon = int((tmp_path / "daemon").read_text())
        until(lambda: not alive(lost.pid))
        os.kill(daemon, signal.SIGKILL)

    def test_no_record(self, tmp_path: Path, name: str) -> None:
        assert attended(SHELLS["dash"], tmp_path, name)[0] is None


class TestWriting:
    def test_nothing_is_written_where_nothing_runs(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        with open_host(kind, tmp_path) as host:
            noted(host, name)
            host.fetch("echo a")
            assert not (HOME / name).exists()
            host.commands("true", "exit 4")
            assert (HOME / name).stat().st_mode & 0o777 == 0o600
            assert HOME.stat().st_mode & 0o777 == 0o700
        read, _, _ = attended(kind, tmp_path, name)
        assert read is not None
        assert [command.code for command in read.commands] == [0, 4]

    def test_the_names_of_commands_are_those_of_the_plan(self, tmp_path: Path, name: str) -> None:
        with open_host(SHELLS["dash"], tmp_path) as host:
            noted(host, name)
            host.operations([sh("true")], [sh("true"), sh("echo 2")])
        read, _, _ = attended(SHELLS["dash"], tmp_path, name)
        assert read is not None
        one = PlannedOperation(index=1, name="op1", operation="t", recipe="t.t")
        assert [command.identity for command in read.of(1)] == [
            record.identity_of(one, sh("true")), record.identity_of(one, sh("echo 2"))
        ]  # fmt: skip
        assert read.of(0)[0].identity != read.of(1)[0].identity

    def test_few_are_kept(self, kind: tuple[str, ...], tmp_path: Path, name: str) -> None:
        HOME.mkdir(mode=0o700, exist_ok=True)
        for number in range(70):
            file = HOME / f"{name}.{number}"
            file.touch()
            os.utime(file, (number, number))
        with open_host(kind, tmp_path) as host:
            noted(host, name)
            host.commands("true")
        assert (HOME / name).exists()
        assert len(list(HOME.glob(f"{name}.*"))) <= 24
