"""What was measured, and what follows from it. Pure: no clock, no host."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.meter import Cost


@dataclass
class Figures:
    """The runs of one peer in one phase."""

    peer: str
    phase: str
    title: str
    costs: list[Cost] = field(default_factory=list)
    memory: float | None = None
    """Peak in MiB."""
    round_trips: float | None = None
    """A host, by the tool's own count."""
    turns: float | None = None
    """A host, counted by the delay proxy: it includes those of the SSH handshake."""
    problem: str = ""
    """Why there are no figures, or why they are worth nothing."""

    @property
    def wall(self) -> float:
        return statistics.median(cost.wall for cost in self.costs)

    @property
    def cpu(self) -> float:
        return statistics.median(cost.cpu for cost in self.costs)

    @property
    def daemons(self) -> float:
        return statistics.median(cost.daemons for cost in self.costs)


@dataclass
class Series:
    """All peers under the same conditions: the same hosts, recipe and latency, interleaved."""

    title: str
    hosts: int
    latency: float
    """Milliseconds added to a round trip."""
    figures: list[Figures] = field(default_factory=list)

    def of(self, peer: str, phase: str) -> Figures | None:
        """The figures of a peer, if it has any that are worth something."""
        found = (one for one in self.figures if (one.peer, one.phase) == (peer, phase))
        return next((one for one in found if one.costs and not one.problem), None)

    def ratio(self, phase: str, peer: str, base: str) -> float | None:
        """How many times longer a peer took than ``base``."""
        longer, shorter = self.of(peer, phase), self.of(base, phase)
        return ratio(longer.costs, shorter.costs) if longer and shorter else None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def ratio(longer: Sequence[Cost], shorter: Sequence[Cost]) -> float:
    """The median over rounds, since both were measured side by side and share the machine's moods; with a different
    number of rounds the ratio of the medians."""
    if len(longer) == len(shorter):
        return statistics.median(a.wall / b.wall for a, b in zip(longer, shorter, strict=True))
    return statistics.median(a.wall for a in longer) / statistics.median(b.wall for b in shorter)


def problems(series: Iterable[Series]) -> list[str]:
    """Everything that did not go as it should."""
    return [
        f"{one.title}, {figures.title}, {figures.phase}: {figures.problem}"
        for one in series
        for figures in one.figures
        if figures.problem
    ]
