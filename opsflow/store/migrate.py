"""Bringing a store to the schema of this program."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, text

from opsflow.errors import StoreError
from opsflow.store.database import WRITE, Database
from opsflow.store.schema import HEAD

SCRIPTS = Path(__file__).parent / "migrations"


def revision(database: Database, head: str = HEAD) -> str | None:
    """The schema of the file; None when it is empty.

    Raises:
        StoreError: it belongs to another program, or to a newer opsflow.
    """
    with database.reading() as connection:
        tables = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")))
        if not tables:
            return None
        if not {"alembic_version", "writer"} <= tables:
            raise StoreError(f"{database.path} is a database of another program", hint="use another file")
        found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found is None:
        raise StoreError(f"{database.path} does not say which schema it has", hint="restore it from a backup")
    if found > head:
        raise StoreError(
            f"{database.path} has schema {found}, written by a newer opsflow; this one knows schemas up to {head}",
            hint="upgrade opsflow, or restore the backup that was made before the newer one migrated it",
        )
    return str(found)


def migrate(database: Database, scripts: Path = SCRIPTS, head: str = HEAD) -> Path | None:
    """Bring the file to ``head`` in one transaction; the caller holds the lock.

    Returns:
        The backup that was made before, when there was anything to lose.
    """
    found = revision(database, head)
    if found == head:
        return None
    backup = _backup(database, found) if found else None
    writer = database.writer()
    try:
        with writer.transaction() as connection:
            _upgrade(connection, scripts, head)
    finally:
        writer.close()
    return backup


def _backup(database: Database, found: str) -> Path:
    """A copy beside the store, named after the schema that it has. An older one of the same name is replaced."""
    target = database.path.with_name(f"{database.path.name}.schema-{found}.backup")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(fd, 0o600)
        # The target may exist if it is empty: so it is private from the first byte.
        with closing(database.connect("rw", WRITE)) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        os.fsync(fd)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return target


def _upgrade(connection: Connection, scripts: Path, head: str) -> None:
    # Loaded here only: a store that is up to date needs none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, head)
