"""Where a run waits: between two attempts at an operation, and after steps that decide what follows."""

from __future__ import annotations

import threading
from collections.abc import Callable

from opsflow.clock import Clock
from opsflow.engine.exchange import Limits
from opsflow.engine.messages import PlannedOperation

Say = Callable[[PlannedOperation, str], None]


class TooLate(Exception):
    """The run ends before the next attempt; the message says why."""


class Attempts:
    """Waits between the attempts at an operation, as long as the recipe says and the user has the patience."""

    def __init__(self, clock: Clock, limits: Limits, say: Say) -> None:
        self._clock = clock
        self._limits = limits
        self._say = say
        self._last: dict[int, int] = {}

    def follow(self, operation: PlannedOperation) -> bool:
        """Wait before an attempt that is not the first one; whether there was anything to wait for.

        Raises:
            TooLate: the run was cancelled or took too long.
        """
        since = operation.attempt - self._last.get(operation.index, 0)
        if since <= 0:
            return False
        self._last[operation.index] = operation.attempt
        retry = f"retry {operation.attempt} of {operation.retries} in {operation.retry_delay:g} s\n"
        self._say(operation, retry)
        self._wait(operation.retry_delay * since, self._limits.cancel)
        return True

    def _wait(self, seconds: float, cancel: threading.Event) -> None:
        left = self._limits.deadline - self._clock.monotonic()
        if cancel.wait(max(0.0, min(seconds, left))):
            raise TooLate("cancelled")
        if seconds > left:
            raise TooLate("the run took too long")


def goes_on(operation: PlannedOperation) -> bool:
    """Whether a failed command of the operation is not its end."""
    return operation.continues or operation.attempt < operation.retries


def tried_in_vain(operation: PlannedOperation) -> bool:
    """Whether all its steps ran and one of them, or one before them, was a failure for good."""
    return operation.failed and operation.attempt >= operation.retries
