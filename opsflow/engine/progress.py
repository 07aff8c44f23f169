"""How far one run has come on its host, and what is learned from it in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from opsflow.engine.memory import Expected, Learned
from opsflow.engine.messages import FactAnswer, HostPlan, Outcome, PlannedOperation


@dataclass
class Progress:
    """What has happened on the host so far: all that a new plan needs to go on from there."""

    known: dict[str, FactAnswer] = field(default_factory=dict)
    expected: Expected = field(default_factory=dict)
    first: dict[str, FactAnswer] = field(default_factory=dict)
    """What each fact was when this run met it first."""
    surprises: set[str] = field(default_factory=set)
    """Facts that were not as remembered before this run had written anything."""
    wrote: bool = False
    fresh: set[str] = field(default_factory=set)
    """Those of the known facts that were read after the last command; the others are assumptions."""
    prepared: dict[str, FactAnswer] | None = None
    trace: list[list[Outcome]] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    done: int = 0

    @property
    def met(self) -> set[str]:
        """Every fact that its operations have read so far."""
        return {outcome.step for outcomes in self.trace for outcome in outcomes if outcome.fact is not None}

    def outcomes(self, operation: PlannedOperation) -> list[Outcome]:
        """What happened at the steps of an operation; made on first use, which is in order."""
        if len(self.trace) <= operation.index:
            self.trace.append([])
            self.began.append(operation.identity)
            self.places.append(operation.place)
        return self.trace[operation.index]


def learned(progress: Progress, plan: HostPlan | None) -> Learned:
    """What a complete run has found out."""
    expected: dict[str, tuple[tuple[str, FactAnswer], ...]] = {}
    met = progress.met | set(progress.prepared or ())
    written = False
    for place, outcomes in zip(progress.places, progress.trace, strict=True):
        after = []
        for outcome in outcomes:
            if outcome.fact is None:
                written = True
                continue
            if written:
                after.append((outcome.step, outcome.fact))
        if after:
            expected[place] = tuple(after)
    last = {key: progress.known[key] for key in progress.known if key in met}
    steady = all(progress.first.get(key, answer) == answer for key, answer in last.items())
    certain = not progress.wrote or met <= progress.fresh
    return Learned(
        first=dict(progress.first),
        last=last,
        expected=expected,
        surprises=frozenset(progress.surprises),
        wrote=progress.wrote,
        plan=plan if steady and certain else None,
    )
