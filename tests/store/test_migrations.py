"""Schema migrations of the SQL store."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event

from opsflow.clock import ManualClock
from opsflow.errors import LockHeld, StoreError
from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes
from opsflow.store.database import Database
from opsflow.store.lockfile import LockFile
from opsflow.store.migrate import SCRIPTS, migrate, revision
from opsflow.store.schema import HEAD, metadata
from opsflow.store.sql import SqlStore

NEXT = '''
"""What the next version of opsflow could do.

Revision: 0003
"""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.add_column("runs", sa.Column("priority", sa.Integer, server_default="5"))
    op.create_table("extra", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO extra (id) SELECT id FROM journal")
    {more}
'''


def filled(path: Path) -> Path:
    store = SqlStore(path, ManualClock())
    entry = JournalEntry(at=datetime(2026, 1, 1, tzinfo=UTC), stack="shop", kind="test.done", message="kept")
    with store.lease("test") as lease:
        store.commit(lease, Changes(entries=[entry]))
    store.close()
    return path


def next_scripts(directory: Path, more: str = "") -> Path:
    scripts = directory / "migrations 100%"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "r0003_next.py").write_text(NEXT.format(more=more))
    return scripts


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_the_head_that_the_code_names_is_the_newest_script() -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_heads() == [HEAD]


def test_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    database = Database(filled(tmp_path / "state.db"), 1.0)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize("there", [True, False])
def test_from_nothing_and_from_an_empty_file(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "state.db"
    if there:
        path.touch()
    filled(path)
    assert revision(Database(path, 1.0)) == HEAD
    assert rows(path, "SELECT epoch FROM writer") == [(1,)]
    assert not list(tmp_path.glob("*.backup*"))


def test_an_older_schema_is_backed_up_and_migrated(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    backup = migrate(Database(path, 1.0), next_scripts(tmp_path), "0003")
    assert revision(Database(path, 1.0), "0003") == "0003"
    assert rows(path, "SELECT id FROM extra") == [(1,)]
    assert rows(path, "SELECT count(*) FROM journal") == [(1,)]
    assert backup == tmp_path / "state.db.schema-0002.backup"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert revision(Database(backup, 1.0)) == "0002"
    # The restore drill: put the backup in its place.
    restored = tmp_path / "restored" / "state.db"
    restored.parent.mkdir()
    shutil.copy(backup, restored)
    store = SqlStore(restored, ManualClock())
    with store.lease("test"):
        assert [item.message for item in store.journal()] == ["kept"]
    assert store.check() == []
    store.close()


def test_a_failing_migration_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    scripts = next_scripts(tmp_path, more="raise RuntimeError('no')")
    with pytest.raises(RuntimeError, match="no"):
        migrate(Database(path, 1.0), scripts, "0003")
    assert revision(Database(path, 1.0), "0003") == "0002"
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'extra'") == []
    filled(path)


def test_old_or_new_wherever_a_migration_is_killed(tmp_path: Path) -> None:
    scripts, statement, killed, seen = next_scripts(tmp_path), 0, True, set()
    while killed:
        path = filled(tmp_path / str(statement) / "state.db")
        killed = os.WIFSIGNALED(migrate_and_die(path, scripts, statement))
        found = revision(Database(path, 1.0), "0003")
        columns = [row[1] for row in rows(path, "PRAGMA table_info(runs)")]
        tables = rows(path, "SELECT name FROM sqlite_master WHERE name = 'extra'")
        assert (("priority" in columns), bool(tables)) == ((found == "0003"),) * 2
        seen.add(found)
        statement += 1
    assert seen == {"0002", "0003"}
    assert statement > 6


def migrate_and_die(path: Path, scripts: Path, statement: int) -> int:
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    left = [statement]

    def count(*_: object) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    try:
        migrate(Database(path, 1.0), scripts, "0003")
    except BaseException:
        os._exit(1)
    os._exit(0)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = filled(tmp_path / "state.db")
    migrate(Database(path, 1.0), next_scripts(tmp_path), "0003")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"schema 0003.*newer opsflow.*up to 0002") as caught:
        SqlStore(path, ManualClock())
    assert "upgrade opsflow" in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_a_store_in_use_is_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    lock = LockFile(tmp_path / "state.db.lock")
    assert lock.acquire()
    try:
        with pytest.raises(LockHeld):
            SqlStore(path, ManualClock())
    finally:
        lock.release()
    filled(path)
