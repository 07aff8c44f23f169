"""The store in memory: the twin of the SQL store for tests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from opsflow.clock import Clock
from opsflow.errors import StoreError
from opsflow.model.command import Command, Run, RunStatus
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult
from opsflow.model.snapshot import NodeSnapshot
from opsflow.model.state import InstanceState, StackState
from opsflow.ports import Changes, Lease
from opsflow.store import leases
from opsflow.store.records import M, decode, encode, require_entries, touched, without_secrets

POLL = 0.1


@dataclass
class Backing:
    """What a file is to the SQL store. Values are JSON, so that nobody shares mutable data with the store."""

    mutex: threading.RLock = field(default_factory=threading.RLock)
    held: Lease | None = None
    since: datetime | None = None
    epoch: int = 0
    last_run: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    instances: dict[tuple[str, str], str] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, str] = field(default_factory=dict)
    journal: list[JournalEntry] = field(default_factory=list)
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    failure: str | None = None
    """When set, every commit fails with it: a disk that broke."""


class MemoryStore:
    """Handles over one :class:`Backing` behave like processes over one file."""

    def __init__(self, clock: Clock, backing: Backing | None = None) -> None:
        self._clock = clock
        self._held: Lease | None = None
        self.backing = backing or Backing()

    # ---------------------------------------------------------------------------------------- writing

    @contextmanager
    def lease(self, owner: str, *, wait: float = 0.0) -> Iterator[Lease]:
        """Become the one writer."""
        deadline = self._clock.monotonic() + wait
        while (lease := self._acquire(owner)) is None:
            if self._clock.monotonic() >= deadline:
                present = self.backing.held
                raise leases.held_by(present.owner if present else None, self.backing.since)
            self._clock.sleep(POLL)
        try:
            yield lease
        finally:
            self._release(lease)

    def _acquire(self, owner: str) -> Lease | None:
        backing = self.backing
        with backing.mutex:
            if backing.held is not None:
                return None
            backing.epoch += 1
            backing.since = self._clock.now()
            self._held = backing.held = Lease(backing.epoch, owner, backing.name)
            return self._held

    def _release(self, lease: Lease) -> None:
        with self.backing.mutex:
            self._held = None
            if self.backing.held == lease:
                self.backing.held = None

    def commit(self, lease: Lease, changes: Changes) -> Sequence[JournalEntry]:
        """Write; returns the journal entries with their ids."""
        require_entries(changes)
        with self.backing.mutex:
            self._fence(lease)
            self._require_parents(changes)
            return self._write(changes)

    def _fence(self, lease: Lease) -> None:
        if self._held != lease:
            raise leases.not_held(lease)
        present = self.backing.held
        if self.backing.epoch != lease.epoch:
            raise leases.lost(lease, self.backing.epoch, present.owner if present else "")
        if self.backing.failure:
            raise StoreError(self.backing.failure)

    def _require_parents(self, changes: Changes) -> None:
        runs = self.backing.runs.keys() | {run.id for run in changes.runs}
        commands = self.backing.commands.keys() | {command.id for command in changes.commands}
        missing = [f"run {command.run}" for command in changes.commands if command.run not in runs]
        missing += [f"command {key}" for key, _ in (*changes.results, *changes.node_snapshots) if key not in commands]
        if missing:
            raise StoreError(f"the change refers to records that do not exist: {', '.join(missing)}")

    def _write(self, changes: Changes) -> Sequence[JournalEntry]:
        backing = self.backing
        # Encode first: what cannot be encoded must fail before anything is written.
        instances = {(s.stack, s.name): encode(s, f"instance {s.stack}/{s.name}") for s in changes.instances}
        results = {key: encode(result, f"the result of command {key}") for key, result in changes.results}
        snapshots = {
            key: encode(without_secrets(snapshot), f"the node of command {key}")
            for key, snapshot in changes.node_snapshots
        }
        runs = {run.id: _copy(run, f"run {run.id}") for run in changes.runs}
        commands = {command.id: _copy(command, f"command {command.id}") for command in changes.commands}
        first = len(backing.journal) + 1
        entries = [
            _copy(entry.model_copy(update={"id": first + offset}), "a journal entry")
            for offset, entry in enumerate(changes.entries)
        ]
        for key in changes.removed:
            backing.instances.pop(key, None)
        backing.instances |= instances
        backing.runs |= runs
        backing.commands |= commands
        backing.results |= results
        backing.snapshots |= snapshots
        backing.journal += entries
        for stack in touched(changes):
            backing.versions[stack] = backing.versions.get(stack, 0) + 1
        return tuple(entries)

    def next_run_id(self, lease: Lease) -> str:
        """A run id that was never given out before."""
        with self.backing.mutex:
            self._fence(lease)
            self.backing.last_run += 1
            return str(self.backing.last_run)

    # ---------------------------------------------------------------------------------------- reading

    def epoch(self) -> int:
        """The epoch of the newest lease."""
        with self.backing.mutex:
            return self.backing.epoch

    def stacks(self) -> Sequence[str]:
        """Names of the stacks that have instances or runs, sorted."""
        with self.backing.mutex:
            names = {stack for stack, _ in self.backing.instances} | {run.stack for run in self.backing.runs.values()}
        return tuple(sorted(names))

    def state(self, stack: str) -> StackState:
        """The stack as observed, instances in order of creation."""
        with self.backing.mutex:
            version = self.backing.versions.get(stack, 0)
            found = {name: text for (owner, name), text in self.backing.instances.items() if owner == stack}
        instances = {name: decode(InstanceState, text, f"instance {stack}/{name}") for name, text in found.items()}
        return StackState(stack=stack, version=version, instances=instances)

    def runs(self, stack: str | None = None, *, limit: int = 50, unfinished: bool = False) -> Sequence[Run]:
        """The newest ``limit``, newest first; with ``unfinished``, only those of them that are running."""
        with self.backing.mutex:
            found = [run for run in self.backing.runs.values() if stack in (None, run.stack)]
        newest = found[::-1][: max(0, limit)]
        return tuple(_copy(run, f"run {run.id}") for run in newest if not unfinished or run.status is RunStatus.RUNNING)

    def run(self, run_id: str) -> Run | None:
        """One run."""
        run = self.backing.runs.get(run_id)
        return run and _copy(run, f"run {run_id}")

    def commands(
        self, *, run: str | None = None, stack: str | None = None, unfinished: bool = False
    ) -> Sequence[Command]:
        """Commands in order of creation."""
        with self.backing.mutex:
            found = list(self.backing.commands.values())
        return tuple(
            _copy(command, f"command {command.id}")
            for command in found
            if run in (None, command.run)
            and stack in (None, command.stack)
            and not (unfinished and command.status.final)
        )

    def result(self, command_id: str) -> HostResult | None:
        """What a command did."""
        text = self.backing.results.get(command_id)
        return None if text is None else decode(HostResult, text, f"the result of command {command_id}")

    def node_snapshot(self, command_id: str) -> NodeSnapshot | None:
        """What a command's recipes saw, with secrets masked."""
        text = self.backing.snapshots.get(command_id)
        return None if text is None else decode(NodeSnapshot, text, f"the node of command {command_id}")

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
        with self.backing.mutex:
            found = self.backing.journal[max(0, after) :]
        found = [
            entry
            for entry in found
            if stack in (None, entry.stack) and run in (None, entry.run) and instance in (None, entry.instance)
        ]
        return tuple(_copy(entry, f"journal entry {entry.id}") for entry in found[max(0, len(found) - max(0, limit)) :])

    def check(self) -> list[str]:
        """Nothing can be damaged here."""
        return []

    def close(self) -> None:
        """Nothing to close."""


def _copy(model: M, what: str) -> M:
    return decode(type(model), encode(model, what), what)
