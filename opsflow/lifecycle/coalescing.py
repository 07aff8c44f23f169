"""Configure storms (decision D5): per instance at most one configure runs and one waits.

A burst of membership changes is answered once, two seconds after its last change. The state is computed when the
configure starts, so the waiting one already answers every change before that. All of this is a value; the
controller feeds it times and facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

DEBOUNCE = 2.0
"""Seconds without a further membership change before configure is sent."""
PATIENCE = 30.0
"""Seconds after which configure is sent although the membership keeps changing."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is known of the configures of one stack; a value, every method returns a new one.

    Attributes:
        first: when the burst of changes began; None when nothing has changed.
        last: when the last change was.
        pending: instance -> id of the command that waits for its turn.
        running: instance -> id of the command that runs.
    """

    first: float | None = None
    last: float = 0.0
    pending: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, str] = field(default_factory=dict)

    def changed(self, now: float) -> Waiting:
        """The membership has changed."""
        return replace(self, first=now if self.first is None else self.first, last=now)

    def due_in(self, now: float, debounce: float = DEBOUNCE) -> float | None:
        """Seconds until configure must be sent, 0 when it is time; None when nothing has changed."""
        if self.first is None:
            return None
        return max(0.0, min(self.last + debounce, self.first + PATIENCE) - now)

    def sent(self, commands: Mapping[str, str]) -> tuple[Waiting, tuple[str, ...]]:
        """Configure was sent (instance -> command id); also the ids of the waiting ones that it supersedes."""
        superseded = tuple(self.pending[name] for name in commands if name in self.pending)
        return replace(self, first=None, pending={**self.pending, **commands}), superseded

    def started(self, instance: str, command: str) -> Waiting:
        """A waiting configure began."""
        pending = {name: waiting for name, waiting in self.pending.items() if waiting != command}
        return replace(self, pending=pending, running={**self.running, instance: command})

    def ended(self, instance: str, command: str) -> Waiting:
        """A configure is over, or will never run."""
        return replace(
            self,
            pending=_without(self.pending, instance, command),
            running=_without(self.running, instance, command),
        )

    def waits(self, instance: str, command: str) -> bool:
        """Whether that command still waits, that is, nothing newer took its place."""
        return self.pending.get(instance) == command

    @property
    def idle(self) -> bool:
        """Whether nothing has changed, waits or runs."""
        return self.first is None and not self.pending and not self.running


def _without(commands: Mapping[str, str], instance: str, command: str) -> Mapping[str, str]:
    return {name: known for name, known in commands.items() if (name, known) != (instance, command)}


def why(joined: Iterable[str], left: Iterable[str]) -> str:
    """The reason of a configure in words: 'app2, app3 came online; app1 left'."""
    parts = []
    if names := ", ".join(dict.fromkeys(joined)):
        parts.append(f"{names} came online")
    if names := ", ".join(dict.fromkeys(left)):
        parts.append(f"{names} left")
    return "; ".join(parts) or "the stack changed"
