"""The store in one SQLite file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from opsflow.clock import Clock
from opsflow.errors import LockHeld, StoreError
from opsflow.model.command import Command, Run
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult
from opsflow.model.snapshot import NodeSnapshot
from opsflow.model.state import StackState
from opsflow.ports import Changes, Lease
from opsflow.store import check, leases, reading, schema, writing
from opsflow.store.database import Database, Writer
from opsflow.store.failures import cause, translated
from opsflow.store.lockfile import LockFile
from opsflow.store.members import Pages
from opsflow.store.migrate import migrate, revision
from opsflow.store.records import require_entries

POLL = 0.1
OPENING = 30.0
"""Seconds to wait for another process that is making or migrating the file."""


class SqlStore:
    """Implements :class:`~opsflow.ports.Store`. Opening it makes or migrates the file.

    Beside ``path`` lie SQLite's own ``-wal`` and ``-shm``, the ``.lock``, and backups made before a migration.
    """

    def __init__(self, path: Path, clock: Clock, *, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._clock = clock
        self._database = Database(path, busy_timeout)
        self._lock = LockFile(path.with_name(path.name + ".lock"))
        self._mutex = threading.RLock()
        self._pages = Pages()
        self._writer: Writer | None = None
        self._lease: Lease | None = None
        self._stopped: str | None = None
        with translated(path):
            self._open()

    def _open(self) -> None:
        self._database.make_directory()
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._database.keep_private()
        if self._path.exists() and revision(self._database) == schema.HEAD:
            return
        self._wait_for_lock(OPENING)
        try:
            self._database.make_file()
            migrate(self._database)
        finally:
            self._lock.release()

    # ---------------------------------------------------------------------------------------- writing

    @contextmanager
    def lease(self, owner: str, *, wait: float = 0.0) -> Iterator[Lease]:
        """Become the one writer."""
        with translated(self._path):
            self._wait_for_lock(wait)
        try:
            yield self._take_over(owner)
        finally:
            self._give_back()

    def _wait_for_lock(self, wait: float) -> None:
        deadline = self._clock.monotonic() + wait
        while not self._try_lock():
            if self._clock.monotonic() >= deadline:
                raise self._held_by_other()
            self._clock.sleep(POLL)

    def _try_lock(self) -> bool:
        with self._mutex:
            return not self._lock.held and self._lock.acquire()

    def _held_by_other(self) -> LockHeld:
        try:
            with self._database.reading() as connection:
                present = writing.ownership(connection)
        except SQLAlchemyError:
            # The holder is only now making the file: nobody can say more.
            return leases.held_by(None, None)
        return leases.held_by(present.owner, present.since)

    def _take_over(self, owner: str) -> Lease:
        with self._mutex, translated(self._path):
            self._refuse_losses()
            self._writer = self._database.writer()
            with self._writer.transaction() as connection:
                lease = writing.take_over(connection, owner, self._clock.now())
            self._stopped = None
            self._lease = lease
            return lease

    def _refuse_losses(self) -> None:
        with self._database.reading() as connection:
            lost = check.lost_entries(connection, self._lock.mark())
        if lost:
            raise StoreError(f"the store {self._path}: {lost}", hint=check.LOSS_HINT.format(lock=self._lock.path))

    def _give_back(self) -> None:
        with self._mutex, translated(self._path):
            writer, self._writer, self._lease = self._writer, None, None
            try:
                if writer:
                    writer.close()
            finally:
                self._lock.release()

    @contextmanager
    def _transaction(self, lease: Lease) -> Iterator[Connection]:
        """One durable transaction of the newest lease."""
        with self._mutex, translated(self._path):
            if self._writer is None or self._lease != lease:
                raise leases.not_held(lease)
            if self._stopped:
                raise StoreError(self._stopped, hint="run the command again when the disk works")
            try:
                with self._writer.transaction() as connection:
                    present = writing.ownership(connection)
                    if present.epoch != lease.epoch:
                        raise leases.lost(lease, present.epoch, present.owner)
                    yield connection
            except SQLAlchemyError as error:
                if cause(error) == "SQLITE_IOERR":
                    # After a failed fsync a second one may report success for data that is gone: never go on.
                    self._stopped = f"the store {self._path}: writing stopped after an error of the disk"
                    self._writer.bury()
                raise

    def commit(self, lease: Lease, changes: Changes) -> Sequence[JournalEntry]:
        """Write; returns the journal entries with their ids."""
        require_entries(changes)
        rows = writing.rows(changes, self._pages)
        with self._mutex:
            with self._transaction(lease) as connection:
                entries = writing.write(connection, rows)
            self._lock.set_mark(entries[-1].id)
        self._pages.wrote(rows.pages)
        return entries

    def next_run_id(self, lease: Lease) -> str:
        """A run id that was never given out before."""
        with self._transaction(lease) as connection:
            return writing.count_run(connection)

    # ---------------------------------------------------------------------------------------- reading

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self._path), self._database.reading() as connection:
            yield connection

    def epoch(self) -> int:
        """The epoch of the newest lease."""
        with self._reading() as connection:
            return writing.ownership(connection).epoch

    def stacks(self) -> Sequence[str]:
        """Names of the stacks that have instances or runs, sorted."""
        with self._reading() as connection:
            return reading.stacks(connection)

    def state(self, stack: str) -> StackState:
        """The stack as observed, instances in order of creation."""
        with self._reading() as connection:
            return reading.state(connection, stack)

    def runs(self, stack: str | None = None, *, limit: int = 50, unfinished: bool = False) -> Sequence[Run]:
        """The newest ``limit``, newest first; with ``unfinished``, only those of them that are running."""
        with self._reading() as connection:
            return reading.runs(connection, stack, limit, unfinished)

    def run(self, run_id: str) -> Run | None:
        """One run."""
        with self._reading() as connection:
            return reading.run(connection, run_id)

    def commands(
        self, *, run: str | None = None, stack: str | None = None, unfinished: bool = False
    ) -> Sequence[Command]:
        """Commands in order of creation."""
        with self._reading() as connection:
            return reading.commands(connection, run, stack, unfinished)

    def result(self, command_id: str) -> HostResult | None:
        """What a command did."""
        with self._reading() as connection:
            return reading.result(connection, command_id)

    def node_snapshot(self, command_id: str) -> NodeSnapshot | None:
        """What a command's recipes saw, with secrets masked."""
        with self._reading() as connection:
            return reading.node(connection, command_id)

    def journal(
        self,
        stack: str | None = None,
        *,
        run: str | None = None,
        instance: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> Sequence[JournalEntry]:
        """Entries with an id above ``after``, oldest first; with ``limit``, the newest ones."""
        with self._reading() as connection:
            return reading.journal(connection, stack, run, instance, after, limit)

    def check(self) -> list[str]:
        """Read everything; returns what is damaged, one line each."""
        with self._reading() as connection:
            return check.problems(connection, self._lock.mark())

    def close(self) -> None:
        """Give back the lease, if it is held, and close the connections."""
        self._give_back()
        self._database.close()
