"""What nodes know of other instances is written once for all of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsflow.clock import ManualClock
from opsflow.errors import StoreError
from opsflow.model.command import Command, CommandType, Run
from opsflow.model.journal import JournalEntry
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import Changes
from opsflow.store.database import Database
from opsflow.store.migrate import SCRIPTS, migrate
from opsflow.store.records import pack
from opsflow.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "correct horse battery"


def member(number: int, **more: object) -> MemberSnapshot:
    values = {"name": f"app{number}", "layers": ("app",), "status": "online", "data": {"note": f"{number} {SECRET}"}}
    return MemberSnapshot.model_validate(values | more)


def node(name: str, members: tuple[MemberSnapshot, ...]) -> NodeSnapshot:
    event = EventSnapshot(type="setup", reason="test")
    own = NodeSnapshot(
        stack="shop", name=name, layers=("app",), members=(), layer_names=("app",), event=event, secrets=(SECRET,)
    )
    return own.model_copy(update={"members": members})


def write(store: SqlStore, nodes: dict[str, NodeSnapshot]) -> None:
    """The node of each command, one transaction a command."""
    run = Run(id="1", stack="shop", action="run", created_at=NOW)
    with store.lease("test") as lease:
        for key, seen in nodes.items():
            command = Command(id=key, run="1", stack="shop", instance=seen.name, type=CommandType.SETUP, created_at=NOW)
            entry = JournalEntry(at=NOW, stack="shop", kind="test.done", message="test")
            store.commit(lease, Changes(entries=[entry], runs=[run], commands=[command], node_snapshots=[(key, seen)]))


def pages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM member_pages").fetchone()
    return int(count)


def names(seen: NodeSnapshot | None) -> list[str]:
    assert seen is not None
    assert SECRET not in seen.model_dump_json()
    return [each.name for each in seen.members]


def test_nodes_of_one_moment_share_their_pages(tmp_path: Path) -> None:
    everyone = tuple(member(number) for number in range(100))
    store = SqlStore(tmp_path / "state.db", ManualClock())
    write(store, {f"1.{number}": node(f"app{number}", everyone) for number in range(20)})
    assert pages(tmp_path / "state.db") == 4
    for number in range(20):
        assert names(store.node_snapshot(f"1.{number}")) == [each.name for each in everyone]
    assert store.check() == []


def test_where_an_instance_changed_one_page_is_new(tmp_path: Path) -> None:
    before = tuple(member(number) for number in range(100))
    after = (*before[:50], member(50, status="stopped"), *before[51:])
    store = SqlStore(tmp_path / "state.db", ManualClock())
    write(store, {"1.1": node("app1", before), "1.2": node("app2", after), "1.3": node("app3", before)})
    assert pages(tmp_path / "state.db") == 5
    found = [store.node_snapshot(key) for key in ("1.1", "1.2", "1.3")]
    assert [seen.members[50].status for seen in found if seen] == ["online", "stopped", "online"]


def test_a_page_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqlStore(path, ManualClock())
    write(store, {"1.1": node("app1", tuple(member(number) for number in range(40)))})
    with closing(sqlite3.connect(path)) as connection, connection:
        (first, second) = connection.execute("SELECT digest FROM member_pages ORDER BY rowid").fetchall()
        connection.execute("DELETE FROM member_pages WHERE digest = ?", first)
        connection.execute("UPDATE member_pages SET body = x'00' WHERE digest = ?", second)
    problems = store.check()
    assert len(problems) == 2
    assert any("is missing" in line and "1.1" in line for line in problems)
    assert any("its digest does not match" in line for line in problems)
    with pytest.raises(StoreError, match="missing"):
        store.node_snapshot("1.1")


def test_nodes_of_an_older_store_keep_their_members(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    migrate(Database(path, 1.0), SCRIPTS, "0001")
    seen = node("app1", (member(1, data={}), member(2, data={}))).model_copy(update={"secrets": ()})
    body, checksum = pack(seen, "the node")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO runs (id, stack, status, body) VALUES ('1', 'shop', 'failed', '{}')")
        connection.execute(
            "INSERT INTO commands (id, run, stack, instance, status, body) "
            "VALUES ('1.1', '1', 'shop', 'app1', 'failed', '{}')"
        )
        connection.execute(
            "INSERT INTO node_snapshots (command, body, checksum) VALUES ('1.1', ?, ?)", (body, checksum)
        )
    store = SqlStore(path, ManualClock())
    assert store.node_snapshot("1.1") == seen
