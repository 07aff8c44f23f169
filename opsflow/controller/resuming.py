"""Which commands were broken off because their controller died, so that the next attempt goes on where they stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from opsflow.controller.aftermath import broken_off
from opsflow.lifecycle.commands import BAD
from opsflow.model.command import Command, CommandStatus, CommandType, RunStatus
from opsflow.ports import Store

LOOKED_AT = 50
"""Runs; nobody takes up again what is older."""
OLDEST = timedelta(days=1)
"""What was done longer ago says little about what is to be done now."""

_ENDED = BAD | {CommandStatus.SUCCESSFUL, CommandStatus.CANCELLED}

_What = tuple[str, CommandType, tuple[str, ...], tuple[str, ...]]


class Resuming:
    """Knows the attempts that broke off before this run began."""

    def __init__(self, store: Store, stack: str, run: str, now: datetime) -> None:
        self._store = store
        self._stack = stack
        self._run = run
        self._now = now
        self._lock = threading.Lock()
        self._chains: Mapping[_What, tuple[str, ...]] | None = None

    def of(self, command: Command) -> tuple[str, ...]:
        """The commands that ``command`` takes up again, newest first."""
        with self._lock:
            if self._chains is None:
                self._chains = self._found()
        return self._chains.get(_what(command), ())

    def _found(self) -> Mapping[_What, tuple[str, ...]]:
        found: dict[_What, tuple[str, ...]] = {}
        ended: set[_What] = set()
        for command in self._earlier():
            what = _what(command)
            if what in ended or command.acknowledged_at is None:
                continue
            if broken_off(command):
                found[what] = (*found.get(what, ()), command.id)
            elif command.status in _ENDED:
                ended.add(what)
        return found

    def _earlier(self) -> Iterator[Command]:
        """Commands of earlier runs, newest first, as far back as one was broken off."""
        runs = [
            run
            for run in self._store.runs(self._stack, limit=LOOKED_AT)
            if run.id != self._run and run.created_at >= self._now - OLDEST
        ]
        while runs and runs[-1].status is not RunStatus.INTERRUPTED:
            runs.pop()
        for run in runs:
            yield from reversed(self._store.commands(run=run.id))


def _what(command: Command) -> _What:
    asked = command.recipes if command.type is CommandType.EXECUTE_RECIPES else ()
    return command.instance, command.type, tuple(sorted(command.apps)), asked
