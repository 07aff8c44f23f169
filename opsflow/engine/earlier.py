"""What a run of a controller that has died did, for the run that takes it up again.

A command that has ended is not run again. Nothing of it is believed longer than it fits: from the first command that
the recipes would not run in this place any more, everything is planned anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opsflow.clock import Clock
from opsflow.engine.exchange import Exchange, Heard
from opsflow.engine.messages import FactStep, PlannedOperation
from opsflow.engine.record import Begun, Record, identity_of
from opsflow.engine.script import Program


@dataclass(frozen=True, slots=True)
class Settled:
    """What an earlier run has done of these operations, as if it had been heard just now."""

    batch: Sequence[PlannedOperation]
    program: Program
    exchange: Exchange


class Earlier:
    """What a run of a controller that has died has done: believed as long as it fits to what the recipes want."""

    def __init__(self, record: Record | None, clock: Clock) -> None:
        self._record = record or Record()
        self._clock = clock
        self._taken: dict[int, int] = {}
        self.last = self._record.last
        """The last operation that the record still says something about; -1 when it says nothing any more."""
        self.changed = self._record.changed
        """Operations that have changed something, even if there is nothing left to do for them."""
        self.origin = self._record.origin
        self.moment = self._record.moment
        self.notes: dict[int, str] = {}
        """Operation -> what was decided about it, for the user."""

    def settle(self, operations: Sequence[PlannedOperation]) -> Settled | None:
        """What has already been done of the next operations; None when nothing is.

        Whatever is planned must be planned again when :attr:`changed` is another one afterwards.
        """
        batch = [operation for operation in operations if operation.index <= self.last]
        commands: dict[int, tuple[int, int]] = {}
        heard: dict[int, Heard] = {}
        whole = 0
        for position, operation in enumerate(batch):
            matched = self._match(operation)
            for index, begun in matched:
                commands[len(commands)] = (position, index)
                heard[len(heard)] = self._heard(begun)
            if len(matched) < len(_writes(operation)):
                break
            whole = position + 1
        if not whole and not commands:
            return None
        exchange, program = Exchange(commands=heard), Program("", {}, commands)
        stop_at_next_fact(exchange, batch, program, after=(whole, -1))
        return Settled(batch, program, exchange)

    def _match(self, operation: PlannedOperation) -> list[tuple[int, Begun]]:
        """(step, command) for the next commands of the operation that have ended and are what it wants."""
        index, taken = operation.index, self._taken.get(operation.index, 0)
        recorded = self._record.of(index)[taken:]
        writes = _writes(operation)
        matched: list[tuple[int, Begun]] = []
        for step, begun in zip(writes, recorded, strict=False):
            why = _difference(operation, step, begun)
            if why:
                self._void(operation, why, partly=taken + len(matched) > 0)
                return matched
            matched.append((step, begun))
            self._taken[index] = taken + len(matched)
        if recorded:
            self._note(operation, recorded[-1], bool(writes))
        if len(writes) > len(recorded) and index < self.last:
            self._void(operation, "it has more to do than it had: planned anew", partly=taken + len(matched) > 0)
        return matched

    def _note(self, operation: PlannedOperation, last: Begun, wanted: bool) -> None:
        how = "done" if wanted or last.code is not None else "begun, and is complete now,"
        self.notes.setdefault(operation.index, f"{how} in run {last.run}, whose controller died; not run again")

    def _void(self, operation: PlannedOperation, why: str, *, partly: bool) -> None:
        """Nothing later in the record counts any more."""
        self.last = operation.index - 1
        self.changed = frozenset(each for each in self.changed if each < operation.index + partly)
        self.notes[operation.index] = why

    def _heard(self, begun: Begun) -> Heard:
        now = self._clock.monotonic()
        note = f"it ended in run {begun.run}, whose controller had died"
        return Heard(now, exit_code=begun.code, exited=now, ended=now, note=note, partial=True)


def _writes(operation: PlannedOperation) -> list[int]:
    return [index for index, step in enumerate(operation.steps) if not isinstance(step, FactStep)]


def _difference(operation: PlannedOperation, index: int, begun: Begun) -> str:
    """Why a recorded command does not count as this step; empty when it does."""
    step = operation.steps[index]
    if isinstance(step, FactStep) or begun.identity != identity_of(operation, step):
        return f"it is not what run {begun.run} did here before its controller died: planned anew"
    if begun.code is None:
        return f"it was broken off in run {begun.run}, and how far it came is not known: run again"
    return ""


def stop_at_next_fact(
    exchange: Exchange, batch: Sequence[PlannedOperation], program: Program, after: tuple[int, int] = (-1, -1)
) -> None:
    """Facts after the last command were not verified: the first of them is where the next plan begins."""
    last = max([*(program.commands[number] for number in exchange.commands), after])
    steps = [(place, index) for place, operation in enumerate(batch) for index in range(len(operation.steps))]
    exchange.until = next((step for step in steps if step > last and _is_fact(batch, step)), None)


def _is_fact(batch: Sequence[PlannedOperation], place: tuple[int, int]) -> bool:
    return isinstance(batch[place[0]].steps[place[1]], FactStep)
