"""Writing: each change and its journal entries in one transaction, redacted; then the observer hears of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from opsflow.controller.letters import Letter, bundled, together
from opsflow.controller.parts import Parts
from opsflow.controller.wording import clean_command, clean_data, clean_result, clean_run, clean_state
from opsflow.errors import StoreError
from opsflow.model.command import Command
from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes, Lease


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
    """The one place that writes. What many threads want written at the same time becomes one transaction."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waiting: list[Letter] = []
        self._guard = threading.Lock()
        self._post = threading.RLock()
        """Held by the thread that commits for all that wait. An observer may write, too."""

    def write(self, *news: News, changes: Changes | None = None) -> None:
        """Commit ``changes`` with ``news``, then tell the observer.

        Raises:
            LockHeld: somebody else has taken over; nothing was written.
            StoreError: nothing was written, and nothing may be written any more.
        """
        if self._parts.lease is None:
            raise StoreError("this controller only reads")
        entries = [self._entry(each) for each in news]
        letter = Letter(replace(self._redacted(changes or Changes(entries=())), entries=entries))
        with self._guard:
            self._waiting.append(letter)
        with self._post:
            if not letter.posted:
                self._deliver(self._parts.lease)
        if letter.error is not None:
            raise letter.error

    def _deliver(self, lease: Lease) -> None:
        """Commit everything that waits, and tell the observer in the order of the journal."""
        with self._guard:
            letters, self._waiting = self._waiting, []
        try:
            for bundle in bundled(letters):
                self._commit(lease, bundle)
                for letter in bundle:
                    self._tell(letter)
        finally:
            for letter in letters:
                if not letter.posted:
                    letter.fail(StoreError("the journal was not written: its writer was interrupted"))

    def _commit(self, lease: Lease, letters: Sequence[Letter]) -> None:
        try:
            entries = iter(self._parts.store.commit(lease, together([letter.changes for letter in letters])))
        except StoreError as error:
            if len(letters) == 1:
                letters[0].fail(error)
                return
            # One of them may be what the store cannot take; the others are not to blame.
            for letter in letters:
                self._commit(lease, [letter])
        except BaseException as error:  # noqa: BLE001 - each thread raises it from its own write
            for letter in letters:
                letter.fail(error)
        else:
            for letter in letters:
                letter.deliver(list(islice(entries, len(letter.changes.entries))))

    def _tell(self, letter: Letter) -> None:
        try:
            for entry in letter.entries:
                self._parts.observe.entry(entry)
        except BaseException as error:  # noqa: BLE001 - the thread whose news it is raises it
            letter.fail(error)

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
