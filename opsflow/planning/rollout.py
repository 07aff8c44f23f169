"""Rollouts: how many at once, and when to stop."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from opsflow.errors import UsageError

Serial = int | str | None
"""At most this many instances at once: a number, a percentage such as "25%", or None for all."""


def batch_size(serial: Serial, total: int) -> int:
    """How many instances go at once: at least one, percentages round down.

    Raises:
        UsageError: neither a positive number nor a percentage.
    """
    if serial is None:
        return max(1, total)
    found = re.fullmatch(r"\s*(\d{1,9})\s*(%?)\s*", str(serial))
    if isinstance(serial, bool) or not found or int(found[1]) == 0 or (found[2] and int(found[1]) > 100):
        raise UsageError(f"'{serial}' is no batch size", hint="use a number such as 2 or a percentage such as 25%")
    return max(1, math.floor(total * int(found[1]) / 100)) if found[2] else int(found[1])


def batches(names: Sequence[str], serial: Serial) -> tuple[tuple[str, ...], ...]:
    """``names`` in order, in batches of ``serial``."""
    size = batch_size(serial, len(names))
    return tuple(tuple(names[start : start + size]) for start in range(0, len(names), size))


def fail_limit_exceeded(failed: int, total: int, percent: float | None) -> bool:
    """Whether more than ``percent`` of all failed: exceeded, not equalled. No limit, never."""
    return percent is not None and failed * 100 > total * percent


def check_percent(percent: float | None) -> None:
    """Refuse a fail limit that is no percentage.

    Raises:
        UsageError: it is not between 0 and 100.
    """
    if percent is not None and not 0 <= percent <= 100:
        raise UsageError(f"{percent:g} is not a percentage between 0 and 100")
