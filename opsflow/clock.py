"""The only module that reads the clock or sleeps."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as a dependency."""

    def now(self) -> datetime:
        """The wall clock, in UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The wall clock, in UTC, aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long."""
        time.sleep(seconds)


class ManualClock:
    """A clock that only moves when it is told to (or slept on); for tests and simulation."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = (start or datetime(2026, 1, 1, tzinfo=UTC)).timestamp()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The simulated wall clock."""
        return datetime.fromtimestamp(self._now, UTC)

    def monotonic(self) -> float:
        """Simulated seconds."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance instead of blocking."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move time forward by ``seconds``."""
        with self._lock:
            self._now += max(0.0, seconds)
