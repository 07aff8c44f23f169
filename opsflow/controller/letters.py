"""Changes on their way to the store: what waits at the same time travels together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes


@dataclass
class Letter:
    """What one thread wants written, and what became of it."""

    changes: Changes
    entries: list[JournalEntry] = field(default_factory=list)
    """As they were written, with their ids."""
    error: BaseException | None = None
    posted: bool = False

    def deliver(self, entries: list[JournalEntry]) -> None:
        """It is durable."""
        self.entries, self.posted = entries, True

    def fail(self, error: BaseException) -> None:
        """It was not written."""
        self.error, self.posted = error, True


def bundled(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The letters in order, together as far as they may be.

    A transaction removes first and writes then: one that removes travels alone, so that nothing comes back.
    """
    bundle: list[Letter] = []
    for letter in letters:
        if letter.changes.removed:
            if bundle:
                yield bundle
            yield [letter]
            bundle = []
        else:
            bundle.append(letter)
    if bundle:
        yield bundle


def together(changes: Sequence[Changes]) -> Changes:
    """Several changes, none of which removes anything unless it is the only one, as one: a later one wins."""
    if len(changes) == 1:
        return changes[0]
    return Changes(
        entries=[entry for each in changes for entry in each.entries],
        instances=list({(state.stack, state.name): state for each in changes for state in each.instances}.values()),
        runs=list({run.id: run for each in changes for run in each.runs}.values()),
        commands=list({command.id: command for each in changes for command in each.commands}.values()),
        results=[result for each in changes for result in each.results],
        node_snapshots=[node for each in changes for node in each.node_snapshots],
    )
