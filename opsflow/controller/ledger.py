"""Writing: each change and its journal entries in one transaction, redacted; then the observer hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from opsflow.controller.parts import Parts
from opsflow.controller.wording import clean_command, clean_data, clean_result, clean_run, clean_state
from opsflow.errors import StoreError
from opsflow.model.command import Command
from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes


@dataclass(frozen=True, slots=True)
class News:
    """A journal entry to be."""

    kind: str
    message: str
    instance: str | None = None
    run: str | None = None
    command: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, command: Command, kind: str, message: str, **data: Any) -> News:
        """News of a command."""
        return cls(kind, message, instance=command.instance, run=command.run, command=command.id, data=data)


class Ledger:
    """The one place that writes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def write(self, *news: News, changes: Changes | None = None) -> None:
        """Commit ``changes`` with ``news``, then tell the observer.

        Raises:
            LockHeld: somebody else has taken over; nothing was written.
            StoreError: nothing was written, and nothing may be written any more.
        """
        if self._parts.lease is None:
            raise StoreError("this controller only reads")
        entries = [self._entry(each) for each in news]
        clean = replace(self._redacted(changes or Changes(entries=())), entries=entries)
        for entry in self._parts.store.commit(self._parts.lease, clean):
            self._parts.observe.entry(entry)

    def _entry(self, news: News) -> JournalEntry:
        return JournalEntry(
            at=self._parts.clock.now(),
            stack=self._parts.stack.name,
            kind=news.kind,
            message=self._parts.redact.text(news.message),
            run=news.run,
            command=news.command,
            instance=news.instance,
            data=clean_data(news.data, self._parts.redact.text),
        )

    def _redacted(self, changes: Changes) -> Changes:
        # What recipes saw names its own secrets, and the store masks them.
        clean = self._parts.redact.text
        return replace(
            changes,
            instances=[clean_state(each, clean) for each in changes.instances],
            runs=[clean_run(each, clean) for each in changes.runs],
            commands=[clean_command(each, clean) for each in changes.commands],
            results=[(name, clean_result(result, clean)) for name, result in changes.results],
        )
