"""Time-based instances: whether one runs now, and until when. Pure: `now` is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from opsflow.model.scaling import DAYS, WeeklyHours

_QUARTER = timedelta(minutes=15)
"""Every time zone's offset is a multiple of a quarter of an hour, so hours begin on one."""
_WEEK_AND_A_DAY = 8 * 24 * 4


def runs_at(hours: WeeklyHours, timezone: str, now: datetime) -> bool:
    """Whether the wall clock of ``timezone`` shows one of the hours.

    An hour that daylight saving time repeats counts twice, one that it skips not at all.
    """
    local = now.astimezone(ZoneInfo(timezone))
    return local.hour in hours.get(DAYS[local.weekday()], frozenset())


def next_change(hours: WeeklyHours, timezone: str, now: datetime) -> datetime | None:
    """When :func:`runs_at` changes next, in UTC; None when it never does."""
    running = runs_at(hours, timezone, now)
    moment = now.astimezone(UTC)
    moment = moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)
    for _ in range(_WEEK_AND_A_DAY):
        moment += _QUARTER
        if runs_at(hours, timezone, moment) is not running:
            return moment
    return None
