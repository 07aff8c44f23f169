"""The SQL store's files: who may read them, and what happens when they are not what they should be."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsflow.clock import ManualClock
from opsflow.errors import StoreError
from opsflow.model.command import Command, CommandType, Run
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult, HostStatus
from opsflow.model.state import InstanceState
from opsflow.ports import Changes
from opsflow.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTE = Changes(entries=[JournalEntry(at=NOW, stack="shop", kind="test.done", message="note")])


@contextmanager
def opened(path: Path, busy_timeout: float = 5.0) -> Iterator[SqlStore]:
    store = SqlStore(path, ManualClock(), busy_timeout=busy_timeout)
    try:
        yield store
    finally:
        store.close()


def fill(path: Path, instances: int = 3) -> None:
    app = [
        InstanceState(stack="shop", name=f"app{n}", layers=("app",), created_at=NOW, changed_at=NOW, reason="x" * 400)
        for n in range(instances)
    ]
    run = Run(id="1", stack="shop", action="up", created_at=NOW)
    command = Command(id="1-1", run="1", stack="shop", instance="app1", type=CommandType.SETUP, created_at=NOW)
    result = HostResult(instance="app1", status=HostStatus.OK, detail="fine")
    with opened(path) as store, store.lease("test") as lease:
        changes = Changes(NOTE.entries, instances=app, runs=[run], commands=[command], results=[("1-1", result)])
        store.commit(lease, changes)


def edit(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def modes(directory: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in directory.iterdir()}


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_files_are_private_under_any_umask(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "project" / ".opsflow" / "state.db"
    with opened(path) as store, store.lease("test") as lease:
        store.commit(lease, NOTE)
        found = modes(path.parent)
        assert {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"} <= found.keys()
        assert set(found.values()) == {0o600}
    assert set(modes(path.parent).values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    path.chmod(0o644)
    with opened(path) as store, store.lease("test") as lease:
        store.commit(lease, NOTE)
        assert set(modes(tmp_path).values()) == {0o600}


def test_strange_names_of_files_work(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?mode=memory#é" / "state.db"
    fill(path)
    assert path.stat().st_size > 0
    with opened(path) as store:
        assert store.check() == []


def test_sqlite_is_used_as_it_must_be(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    with opened(path) as store:
        with store._reading() as reader, pytest.raises(Exception, match="readonly"):
            reader.exec_driver_sql("DELETE FROM journal")
        with store.lease("test") as lease, store._transaction(lease) as writer:
            pragmas = {
                name: writer.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_nothing_is_left_beside_the_database_after_the_lease(tmp_path: Path) -> None:
    fill(tmp_path / "state.db")
    assert set(modes(tmp_path)) == {"state.db", "state.db.lock"}


# ------------------------------------------------------------------------------------------------ not a store


@pytest.mark.parametrize("content", [b"hello world\n" * 100, b"\x00" * 5000, os.urandom(5000)])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"state\.db: the file is not an SQLite database") as caught, opened(path):
        pass
    assert "backup" in (caught.value.hint or "")
    assert path.read_bytes() == content


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"), opened(tmp_path / "state.db"):
        pass


def test_a_file_in_the_place_of_its_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"), opened(tmp_path / "project" / "state.db"):
        pass


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    edit(path, "CREATE TABLE cookies (name TEXT)")
    with pytest.raises(StoreError, match="another program"), opened(path):
        pass


def test_a_symlink_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state.db.lock").symlink_to(victim)
    with pytest.raises(StoreError), opened(tmp_path / "state.db"):
        pass
    assert victim.read_text() == "precious"


# ------------------------------------------------------------------------------------------------ damage


def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path, instances=100)
    os.truncate(path, path.stat().st_size - 4096)
    with pytest.raises(StoreError, match="damaged") as caught, opened(path):
        pass
    assert "backup" in (caught.value.hint or "")


@pytest.mark.parametrize("seed", range(25))
def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "state.db", random.Random(seed)
    fill(path, instances=30)
    content = bytearray(path.read_bytes())
    for _ in range(20):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    try:
        with opened(path) as store:
            store.check()
            store.state("shop")
            store.result("1-1")
            with store.lease("test") as lease:
                store.commit(lease, NOTE)
    except StoreError as error:
        assert error.message  # noqa: PT017 - it may also work


def test_a_flipped_bit_in_a_result_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    edit(path, "UPDATE results SET body = CAST(substr(body, 1, 9) || x'00' || substr(body, 11) AS BLOB)")
    with opened(path) as store:
        with pytest.raises(StoreError, match="the result of command 1-1 is damaged"):
            store.result("1-1")
        assert store.check() == ["the result of command 1-1 is damaged in the store: its checksum does not match"]


@pytest.mark.parametrize("table", ["instances", "runs", "commands", "journal"])
def test_a_damaged_record_is_named(tmp_path: Path, table: str) -> None:
    path = tmp_path / "state.db"
    fill(path, instances=1)
    edit(path, f"UPDATE {table} SET body = replace(body, '\"stack\"', '\"stuck\"')")
    reads = {"instances": lambda: store.state("shop"), "journal": lambda: store.journal()}
    with opened(path) as store:
        read = reads.get(table) or getattr(store, table)
        with pytest.raises(StoreError, match=r"(instance shop/app0|run 1|command 1-1|journal entry 1) is damaged"):
            read()
        assert len(store.check()) == 1


def test_check_finds_rows_without_their_parents(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    edit(path, "DELETE FROM runs")
    with opened(path) as store:
        assert store.check() == ["a row of commands refers to a missing row of runs"]


def test_a_deleted_log_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    here, copy = tmp_path / "here", tmp_path / "copy"
    fill(here / "state.db")
    with opened(here / "state.db") as store, store.lease("test") as lease:
        for _ in range(5):
            store.commit(lease, NOTE)
        # What is left after a crash when somebody deletes the write-ahead log.
        shutil.copytree(here, copy, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    with opened(copy / "state.db") as store:
        assert len(store.journal()) == 1
        with (
            pytest.raises(StoreError, match=r"ends at journal entry 1, but entry 6 was written") as caught,
            store.lease("t"),
        ):
            pass
        assert "state.db.lock" in (caught.value.hint or "")
        assert len(store.check()) == 1
        (copy / "state.db.lock").unlink()
        with store.lease("accepted") as lease:
            assert store.commit(lease, NOTE)[0].id == 2
        assert store.check() == []


# ------------------------------------------------------------------------------------------------ other programs


def test_a_database_that_is_locked_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    with opened(path, busy_timeout=0.05) as store, store.lease("test") as lease:
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError, match="another program keeps it locked"):
                store.commit(lease, NOTE)
            assert len(store.journal()) == 1
            other.rollback()
        assert store.commit(lease, NOTE)[0].id == 2
    assert set(modes(tmp_path)) == {"state.db", "state.db.lock"}
