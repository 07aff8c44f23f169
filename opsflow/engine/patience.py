"""For how long a host is tried that does not let us in, and with which pauses."""

from __future__ import annotations

import random
from dataclasses import dataclass

from opsflow.engine.session import Why
from opsflow.model.compute import Timeouts

ATTEMPTS = 3
"""Attempts to reach a host that does not answer; only connecting is tried again, never a recipe."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before a host is tried again: the first time about as long, and at most."""


@dataclass
class Patience:
    """How long a host is tried, and how long to wait before the next attempt."""

    timeouts: Timeouts
    attempts: int = 0
    spent: float = 0.0

    def pause(self, why: Why, took: float) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        self.attempts += 1
        self.spent += took
        # What takes long once takes long again: the limit is for all attempts together.
        if why is Why.UNREACHABLE:
            again = self.attempts < ATTEMPTS and self.spent + took < self.timeouts.connect
        else:
            again = why is Why.DROPPED and self.spent + took < self.timeouts.authentication
        if not again:
            return None
        longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(self.attempts, 10))
        pause = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret
        self.spent += pause
        return pause
