"""What opsflow is to reach, and whether it did in these figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.figures import Series
from bench.peers.base import Phase
from bench.table import markdown

Measured = Callable[[Mapping[str, Series]], float | None]


@dataclass(frozen=True)
class Goal:
    """A figure, and the value that it has to reach."""

    text: str
    goal: float
    stretch: float
    unit: str
    measured: Measured
    at_least: bool = False

    def row(self, series: Mapping[str, Series]) -> list[str]:
        value = self.measured(series)
        return [self.text, self._bound(self.goal), self._bound(self.stretch), *self._verdict(value)]

    def _bound(self, value: float) -> str:
        return f"{'at least' if self.at_least else 'at most'} {value:g}{self.unit}"

    def _verdict(self, value: float | None) -> list[str]:
        if value is None:
            return ["-", "not measured"]
        words = ((self.stretch, "stretch"), (self.goal, "goal"))
        reached = (word for bound, word in words if (value >= bound if self.at_least else value <= bound))
        return [f"{value:.3g}{self.unit}", next(reached, "missed")]


def times(series: str, phase: Phase, peer: str, base: str) -> Measured:
    """How many times longer a peer takes than ``base``."""

    def measured(all_series: Mapping[str, Series]) -> float | None:
        one = all_series.get(series)
        return one.ratio(phase, peer, base) if one else None

    return measured


def warm_cpu(all_series: Mapping[str, Series]) -> float | None:
    """Milliseconds of the agent's CPU for each host."""
    one = all_series.get("main")
    figures = one.of("opsflow-warm", Phase.CONVERGED) if one else None
    return figures.daemons / one.hosts * 1000 if one and figures else None


def round_trips(peer: str, phase: Phase) -> Measured:
    def measured(all_series: Mapping[str, Series]) -> float | None:
        figures = next((found for one in all_series.values() if (found := one.of(peer, phase))), None)
        return figures.round_trips if figures else None

    return measured


def memory(all_series: Mapping[str, Series]) -> float | None:
    """The most that opsflow needed, in either phase."""
    one = all_series.get("many")
    found = [one.of("opsflow", phase) for phase in Phase] if one else []
    peaks = [figures.memory for figures in found if figures and figures.memory is not None]
    return max(peaks, default=None)


FIRST, CONVERGED = Phase.FIRST, Phase.CONVERGED
GOALS = (
    Goal("first run, cold: pyinfra ÷ opsflow", 4, 6, "", times("main", FIRST, "pyinfra", "opsflow"), True),
    Goal("converged, cold: pyinfra ÷ opsflow", 5, 7, "", times("main", CONVERGED, "pyinfra", "opsflow"), True),
    Goal("converged, warm: pyinfra ÷ opsflow", 12, 20, "", times("main", CONVERGED, "pyinfra", "opsflow-warm"), True),
    Goal("converged, warm: opsflow ÷ OpenSSH ControlMaster", 1.3, 1, "",
         times("main", CONVERGED, "opsflow-warm", "openssh-warm")),
    Goal("converged, cold: opsflow ÷ paramiko threads", 1.5, 1.2, "", times("main", CONVERGED, "opsflow", "paramiko")),
    Goal("first run, 10 hosts: ansible-core ÷ opsflow", 25, 100, "", times("ten", FIRST, "ansible", "opsflow"), True),
    Goal("converged, 10 hosts, warm: ansible-core ÷ opsflow", 25, 100, "",
         times("ten", CONVERGED, "ansible", "opsflow-warm"), True),
    Goal("round trips a host, converged, warm", 1, 1, "", round_trips("opsflow-warm", CONVERGED)),
    Goal("round trips a host, first run, sibling known", 1, 1, "", round_trips("opsflow-sibling", FIRST)),
    Goal("agent's CPU a host, converged, warm", 2, 0.5, " ms", warm_cpu),
    Goal("100 ms latency, 2 hosts, converged, warm: pyinfra ÷ opsflow", 20, 37, "",
         times("latency-100", CONVERGED, "pyinfra", "opsflow-warm"), True),
    Goal("200 hosts: controller's memory", 150, 80, " MiB", memory),
)  # fmt: skip


def goals(series: Mapping[str, Series]) -> str:
    """The goals as a table."""
    headings = ("what", "goal", "stretch", "measured", "reached")
    return markdown(headings, [goal.row(series) for goal in GOALS])
