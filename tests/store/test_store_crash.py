"""The SQL store and processes that die, and disks that fail."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import alembic.command  # noqa: F401 - loaded here once, not in every forked process
import pytest
from sqlalchemy import Engine, event

import opsflow
from opsflow.clock import ManualClock, SystemClock
from opsflow.errors import LockHeld, StoreError
from opsflow.model.journal import JournalEntry
from opsflow.model.state import InstanceState
from opsflow.ports import Changes
from opsflow.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(opsflow.__file__).parents[1])}
PRELUDE = """
import os, subprocess, sys, time
from datetime import UTC, datetime
from pathlib import Path
from opsflow.clock import SystemClock
from opsflow.errors import StoreError
from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes
from opsflow.store.sql import SqlStore

def note(text):
    return Changes(entries=[JournalEntry(at=datetime.now(UTC), stack="shop", kind="test.done", message=text)])

store = SqlStore(Path(sys.argv[1]), SystemClock())
"""


def note(text: str = "note", size: int = 0) -> Changes:
    state = InstanceState(
        stack="shop", name="app1", layers=("app",), created_at=NOW, changed_at=NOW, reason=text + "x" * size
    )
    entry = JournalEntry(at=NOW, stack="shop", kind="test.done", message=text)
    return Changes(entries=[entry], instances=[state])


@contextmanager
def opened(path: Path) -> Iterator[SqlStore]:
    store = SqlStore(path, ManualClock())
    try:
        yield store
    finally:
        store.close()


@contextmanager
def python(script: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    command = [*prefix, sys.executable, "-c", PRELUDE + script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def die_before(statement: int) -> None:
    """Be killed instead of running that statement (counted from 0)."""
    left = [statement]

    def count(*_: object) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)


# ------------------------------------------------------------------------------------------------ kill -9

WRITE_FOREVER = """
with store.lease("the one who dies") as lease:
    number = 0
    while True:
        number += 1
        store.commit(lease, note(str(number)))
        print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, known = tmp_path / "state.db", 0
    for acknowledged in (1, 7, 40):
        with python(WRITE_FOREVER, str(path)) as process:
            for _ in range(acknowledged):
                last = int(line(process))
            with opened(path) as store, pytest.raises(LockHeld, match="the one who dies"), store.lease("next"):
                pass
            process.kill()
            process.wait()
        with opened(path) as store:
            with store.lease("next") as lease:
                assert lease.epoch > 0
            entries = store.journal()
            assert len(entries) >= known + last
            assert [item.id for item in entries] == list(range(1, len(entries) + 1))
            assert store.check() == []
            known = len(entries)


def test_a_change_is_whole_wherever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path) as store, store.lease("test") as lease:
        store.commit(lease, note("0"))
    statement, killed = 0, True
    while killed:

        def work(statement: int = statement) -> None:
            store = SqlStore(path, ManualClock())
            with store.lease("child") as lease:
                die_before(statement)
                store.commit(lease, note(str(statement + 1)))

        killed = os.WIFSIGNALED(in_child(work))
        with opened(path) as store, store.lease("test"):
            assert len(store.journal()) == (1 if killed else 2)
            assert store.state("shop").version == (1 if killed else 2)
            assert store.state("shop").instances["app1"].reason == ("0" if killed else str(statement + 1))
            assert store.check() == []
        statement += 1
    assert statement > 6


def test_a_new_store_is_whole_wherever_its_maker_is_killed(tmp_path: Path) -> None:
    statement, killed = 0, True
    while killed:
        path = tmp_path / str(statement) / "state.db"

        def work(path: Path = path, statement: int = statement) -> None:
            die_before(statement)
            SqlStore(path, ManualClock())

        killed = os.WIFSIGNALED(in_child(work))
        with opened(path) as store, store.lease("test") as lease:
            store.commit(lease, note())
            assert store.check() == []
        statement += 1
    assert statement > 15


LEAVE_CHILDREN = """
with store.lease("parent") as lease:
    sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    store.commit(lease, note("still mine"))
    print(sleeper.pid, forked, flush=True)
    time.sleep(60)
"""


def test_children_of_a_killed_writer_do_not_keep_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with python(LEAVE_CHILDREN, str(path)) as process:
        children = [int(word) for word in line(process).split()]
        try:
            with opened(path) as store, pytest.raises(LockHeld), store.lease("next"):
                pass
            process.kill()
            process.wait()
            with opened(path) as store, store.lease("next") as lease:
                assert store.commit(lease, note())[0].id == 2
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_two_processes_take_turns(tmp_path: Path) -> None:
    script = """
for turn in range(5):
    with store.lease(f"process {os.getpid()}", wait=30) as lease:
        before = len(store.journal())
        for _ in range(5):
            store.commit(lease, note(str(os.getpid())))
        assert len(store.journal()) == before + 5
print("done", flush=True)
"""
    path = str(tmp_path / "state.db")
    with python(script, path) as one, python(script, path) as two:
        assert (line(one), line(two)) == ("done", "done")
    with opened(tmp_path / "state.db") as store:
        messages = [item.message for item in store.journal()]
        assert len(messages) == 50
        assert all(len(set(messages[start : start + 5])) == 1 for start in range(0, 50, 5))


def test_many_processes_make_the_same_store_at_once(tmp_path: Path) -> None:
    def work() -> None:
        store = SqlStore(tmp_path / "state.db", SystemClock())
        with store.lease("child", wait=30) as lease:
            store.commit(lease, note())
        store.close()

    def child() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        return pid

    pids = [child() for _ in range(6)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 6
    with opened(tmp_path / "state.db") as store:
        assert len(store.journal()) == 6


# ------------------------------------------------------------------------------------------------ disks


def test_writing_stops_after_an_error_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def work() -> None:
        with opened(path) as store:
            with store.lease("test") as lease:
                store.commit(lease, note("1"))
                # A limit on the size of files is an error of the disk that needs no privilege and no broken disk.
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
                with pytest.raises(StoreError, match="the disk failed"):
                    store.commit(lease, note("2", size=1_000_000))
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                with pytest.raises(StoreError, match="writing stopped after an error of the disk"):
                    store.commit(lease, note("3"))
                assert len(store.journal()) == 1
            with store.lease("again") as lease:
                assert store.commit(lease, note("4"))[0].id == 2
            assert store.check() == []

    assert in_child(work) == 0


def fail_every_sync() -> None:
    """From now on fsync and fdatasync of this process return EIO: a filter in the kernel, not a patch."""
    first, second = {"x86_64": (74, 75), "aarch64": (82, 83)}[os.uname().machine]
    load, equal, give = 0x20, 0x15, 0x06
    allow, eio = 0x7FFF0000, 0x00050000 | errno.EIO
    steps = [(load, 0, 0, 0), (equal, 2, 0, first), (equal, 1, 0, second), (give, 0, 0, allow), (give, 0, 0, eio)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, mode_filter, program, 0, 0) == 0


def test_what_could_not_be_synced_never_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def work() -> None:
        store = SqlStore(path, ManualClock())
        with store.lease("test") as lease:
            store.commit(lease, note("1"))
            store.commit(lease, note("2"))
            fail_every_sync()
            for text in ("3", "4", "5"):
                with pytest.raises(StoreError, match="disk"):
                    store.commit(lease, note(text))
            assert len(store.journal()) == 2
            os.kill(os.getpid(), signal.SIGKILL)

    assert os.WIFSIGNALED(in_child(work))
    with opened(path) as store, store.lease("next") as lease:
        assert [item.message for item in store.journal()] == ["1", "2"]
        assert store.commit(lease, note("3"))[0].id == 3
        assert store.check() == []


FILL_DISK = """
import json, shutil
path = Path(sys.argv[1])
ballast = path.with_name("ballast")
with store.lease("test") as lease:
    for number in range(20):
        store.commit(lease, note(str(number)))
    free = shutil.disk_usage(path.parent).free
    ballast.write_bytes(b"x" * (free - 40_000))
    errors = []
    for _ in range(3):
        try:
            store.commit(lease, note("y" * 200_000))
        except StoreError as error:
            errors.append([error.message, error.hint])
    kept = [item.message for item in store.journal()]
    ballast.unlink()
    again = store.commit(lease, note("works again"))[0].id
print(json.dumps({"errors": errors, "kept": kept, "again": again, "check": store.check()}), flush=True)
store.close()
"""


@pytest.mark.sandbox
def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1M tmpfs "$0" && exec "$@"'
    prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(tmp_path))
    with python(FILL_DISK, str(tmp_path / "state.db"), prefix=prefix) as process:
        told = json.loads(line(process))
    assert len(told["errors"]) == 3
    assert all("the disk is full" in message and "free some space" in hint for message, hint in told["errors"])
    assert told["kept"] == [str(number) for number in range(20)]
    assert told["again"] == 21
    assert told["check"] == []


OPEN_READ_ONLY = """
import json
with store.lease("test") as lease:
    store.commit(lease, note("1"))
store.close()
subprocess.run(["mount", "-o", "remount,ro", str(Path(sys.argv[1]).parent)], check=True)
store = SqlStore(Path(sys.argv[1]), SystemClock())
told = [len(store.journal())]
try:
    store.lease("x").__enter__()
except StoreError as error:
    told.append(error.message)
print(json.dumps(told), flush=True)
"""


@pytest.mark.sandbox
def test_a_read_only_file_system_can_be_read_and_not_written(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=1M tmpfs "$0" && exec "$@"'
    prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(tmp_path))
    with python(OPEN_READ_ONLY, str(tmp_path / "state.db"), prefix=prefix) as process:
        told = json.loads(line(process))
    entries, refused = told
    assert entries == 1
    assert "state.db: it is read-only" in refused
