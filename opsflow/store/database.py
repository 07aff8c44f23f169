"""Connections to the SQLite file: one that writes, and short read-only ones.

SQLite up to 3.51.2 can corrupt a database in WAL mode when several connections write or checkpoint at once. Here only
the holder of the lock has a connection that can do either; readers cannot.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from opsflow.store.failures import cause

READ = ("PRAGMA query_only=ON", "PRAGMA trusted_schema=OFF")
WRITE = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cell_size_check=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA journal_size_limit=16777216",
)


class Database:
    """The file and how it is opened."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        self._reading = self._engine(self._reader, "BEGIN")

    def make_directory(self) -> None:
        """Make the directory if it is missing, private under any umask."""
        for directory in reversed(self.path.parents):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
                directory.chmod(0o700)

    def make_file(self) -> None:
        """Make an empty file if it is missing, private under any umask; the caller holds the lock."""
        if not self.path.exists():
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, 0o600)
            os.close(fd)

    def keep_private(self) -> None:
        """Take away what others may do with files that are ours; SQLite gives its own files the database's mode."""
        # Only by name: opening and closing the file itself would drop the locks that SQLite has in this process.
        for path in (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                    path.chmod(0o600)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only connection that sees one moment."""
        with self._reading.connect() as connection, connection.begin():
            yield connection

    def writer(self) -> Writer:
        """The connection that writes; the caller holds the lock."""
        return Writer(self._engine(lambda: self.connect("rw", WRITE), "BEGIN IMMEDIATE"))

    def close(self) -> None:
        """Close what is pooled."""
        self._reading.dispose()

    def connect(self, mode: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
        """A connection of the driver, without implicit transactions."""
        uri = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in pragmas:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reader(self) -> sqlite3.Connection:
        """A connection that reads, also where SQLite cannot make the small file that it shares between processes."""
        connection = self.connect("ro", READ)
        try:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            # On a read-only or full disk. Without a log nobody writes, and the file alone is all there is.
            if cause(error) not in ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_READONLY") or self._has_log():
                raise
            return self.connect("ro&immutable=1", READ)
        return connection

    def _has_log(self) -> bool:
        log = self.path.with_name(self.path.name + "-wal")
        return not self.path.exists() or (log.exists() and log.stat().st_size > 0)

    def _engine(self, connect: Callable[[], sqlite3.Connection], begin: str) -> Engine:
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine


class Writer:
    """The one connection that writes, open as long as the lock is held."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.connect()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of the block is written durably at its end, or nothing."""
        with self._connection.begin():
            yield self._connection

    def bury(self) -> None:
        """After a failed fsync: overwrite what the failed transaction left in the log, so that it never comes back.

        Best effort: when this fails too, the transaction may come back, whole.
        """
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - for the type checker
        with contextlib.suppress(sqlite3.Error):
            driver.execute("PRAGMA synchronous=OFF")
            # Something that no one reads, and a real change: SQLite does not write what is equal.
            (buried,) = driver.execute("PRAGMA user_version").fetchone()
            driver.execute(f"PRAGMA user_version={buried + 1}")
        # What is moved into the database at the end must be synced again, or fail.
        with contextlib.suppress(sqlite3.Error):
            driver.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close it; SQLite moves the write-ahead log into the database when nobody reads."""
        self._connection.close()
        self._engine.dispose()
