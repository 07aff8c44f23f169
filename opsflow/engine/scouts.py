"""Who goes first where nobody has been: one host meets a run list step by step, and the others follow its trace."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from opsflow.clock import Clock
from opsflow.ports import HostEvent, HostObserver, OperationStarted

BUSY = 0.7
"""Seconds that the others wait while the first host runs one operation: it may take an hour."""
STUCK = 3.0
"""Seconds that they wait for anything else of it to happen."""
PATIENCE = 10.0
"""Seconds that they wait at all."""
LOOK = 0.05
"""Seconds between two looks."""


@dataclass
class _First:
    """The host that is ahead, and when it last got on."""

    since: float
    moved: float
    limit: float = STUCK
    told: threading.Event = field(default_factory=threading.Event)


class Scouts:
    """Lets one host at a time go first for each key; safe to use from many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead: dict[str, _First] = {}

    def lead(self, key: str, cancel: threading.Event) -> bool:
        """True for who goes first; False for the others, when the first has told, or does not get on."""
        with self._lock:
            first = self._ahead.get(key)
            if first is None:
                now = self._clock.monotonic()
                self._ahead[key] = _First(now, now)
                return True
        while not first.told.wait(LOOK) and not cancel.is_set():
            now = self._clock.monotonic()
            if now - first.moved > first.limit or now - first.since > PATIENCE:
                break
        return False

    def watched(self, key: str, observe: HostObserver) -> HostObserver:
        """The observer, and a look at how the host gets on."""

        def watching(event: HostEvent) -> None:
            first = self._ahead.get(key)
            if first is not None:
                first.moved = self._clock.monotonic()
                first.limit = BUSY if isinstance(event, OperationStarted) else STUCK
            observe(event)

        return watching

    def told(self, key: str) -> None:
        """The first one is through, whatever came of it."""
        with self._lock:
            self._ahead.pop(key).told.set()
