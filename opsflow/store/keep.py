"""What is worth knowing next time, in a file of its own beside the state: it may be deleted at any time.

It is no part of the state: nothing is wrong when it is gone, when two processes write it at once, or when it is
damaged. So it needs no lock and no migrations: a file that cannot be used is replaced by a new one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from opsflow.clock import Clock

FORMAT = 1
"""Another number in a file: it is started anew."""
ENTRIES = 20_000
LARGEST = 1_000_000
"""Bytes of one value; larger ones are not kept."""
BYTES = 200_000_000
"""Of all values together; then those that were not used for longest are forgotten."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_used ON kept (used);
"""


class RamKeep:
    """Keeps it as long as the process lives (ports.Keep)."""

    def __init__(self, entries: int = ENTRIES) -> None:
        self._values: dict[str, bytes] = {}
        self._entries = entries
        self._lock = threading.Lock()
        self.fails = False
        """Tests: forget everything that is said."""

    def recall(self, key: str) -> bytes | None:
        """What was last remembered under the key."""
        with self._lock:
            value = None if self.fails else self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
            return value

    def remember(self, values: Mapping[str, bytes]) -> None:
        """Keep the values."""
        with self._lock:
            for key, value in values.items():
                self._values.pop(key, None)
                if len(value) <= LARGEST and not self.fails:
                    self._values[key] = value
            while len(self._values) > self._entries:
                del self._values[next(iter(self._values))]

    def close(self) -> None:
        """Nothing to do."""


class FileKeep:
    """Keeps it in an SQLite file that only this user can read (ports.Keep)."""

    def __init__(self, path: Path, clock: Clock, entries: int = ENTRIES) -> None:
        self._path = path
        self._clock = clock
        self._entries = entries
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._broken = False
        self._used: set[str] = set()

    def recall(self, key: str) -> bytes | None:
        """What was last remembered under the key; None also when the file cannot be read."""
        with self._lock:
            try:
                connection = self._opened(make=False)
                row = connection and connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
            except (sqlite3.Error, OSError):
                self._give_up()
                return None
            if not row:
                return None
            self._used.add(key)
            return bytes(row[0])

    def remember(self, values: Mapping[str, bytes]) -> None:
        """Keep the values; when that cannot be done, they are forgotten."""
        now = self._clock.now().timestamp()
        with self._lock:
            try:
                connection = self._opened(make=True)
                if connection is not None:
                    self._write(connection, values, now)
            except (sqlite3.Error, OSError):
                self._give_up()

    def _write(self, connection: sqlite3.Connection, values: Mapping[str, bytes], now: float) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("UPDATE kept SET used = ? WHERE key = ?", [(now, key) for key in self._used])
            for key, value in values.items():
                if len(value) > LARGEST:
                    connection.execute("DELETE FROM kept WHERE key = ?", (key,))
                else:
                    connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, value, now))
            self._bound(connection)
        self._used.clear()

    def _bound(self, connection: sqlite3.Connection) -> None:
        count, size = connection.execute("SELECT count(*), coalesce(sum(length(value)), 0) FROM kept").fetchone()
        if count > self._entries or size > BYTES:
            surplus = max(count - self._entries, count // 4 if size > BYTES else 0)
            connection.execute("DELETE FROM kept WHERE key IN (SELECT key FROM kept ORDER BY used LIMIT ?)", (surplus,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                if self._used:
                    with suppress(sqlite3.Error):
                        self._write(self._connection, {}, self._clock.now().timestamp())
                self._connection.close()
            self._connection = None

    def _opened(self, *, make: bool) -> sqlite3.Connection | None:
        if self._connection is not None or self._broken:
            return self._connection
        if not make and not self._path.exists():
            return None
        self._path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=2, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        with closing(connection.execute("PRAGMA user_version")) as cursor:
            found = cursor.fetchone()[0]
        if found != FORMAT:
            connection.executescript(f"DROP TABLE IF EXISTS kept; {SCHEMA} PRAGMA user_version = {FORMAT};")

    def _give_up(self) -> None:
        """Do without it in this process; a damaged file is replaced by the next one."""
        self._broken = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with suppress(OSError):
            self._path.unlink()
