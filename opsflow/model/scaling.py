"""When instances run: weekly hours and load thresholds (OpsWorks API: scaling)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from opsflow.model.base import Misfit, Model

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

WeeklyHours = Mapping[str, frozenset[int]]
"""Day (``mon`` ... ``sun``) -> the hours, 0 to 23, in which the instance runs."""


def _days(text: str) -> list[str]:
    days: list[str] = []
    for part in text.lower().replace(" ", "").split(","):
        if part in ("daily", "*"):
            days += DAYS
            continue
        first, dash, last = part.partition("-")
        last = last if dash else first
        if first not in DAYS or last not in DAYS:
            raise ValueError(f"'{text}' names no days; write mon, mon-fri, sat,sun or daily")
        start, end = DAYS.index(first), DAYS.index(last)
        days += DAYS[start : end + 1] if start <= end else (*DAYS[start:], *DAYS[: end + 1])
    return days


_SPAN = r" *([0-9]{1,2})(?: *- *([0-9]{1,2}))? *"


def _hours(value: Any) -> frozenset[int]:
    parts = value if isinstance(value, list | tuple | set | frozenset) else str(value).split(",")
    hours: set[int] = set()
    for part in parts:
        found = None if isinstance(part, bool) else re.fullmatch(_SPAN, str(part))
        if not found:
            raise ValueError(f"'{part}' is not a span of hours; write whole hours such as 8-20 (from 8:00 until 20:00)")
        start, end = int(found[1]), int(found[2]) if found[2] else int(found[1]) + 1
        if start > 23 or end > 24 or start == end:
            raise ValueError(f"'{part}' is not a span of hours between 0 and 24")
        hours |= set(range(start, end)) if start < end else {*range(start, 24), *range(end)}
    return frozenset(hours)


def parse_hours(value: Any) -> Any:
    """``{mon-fri: 8-20}`` -> hours by day. ``8-20`` means 8:00 until 20:00; ``22-6`` wraps within the same day's list.

    Raises:
        ValueError: a day or a span cannot be read.
    """
    if not isinstance(value, Mapping):
        raise ValueError("write days and hours, such as {mon-fri: 8-20}")
    week: dict[str, frozenset[int]] = {}
    for days, spans in value.items():
        try:
            for day in _days(str(days)):
                week[day] = week.get(day, frozenset()) | _hours(spans)
        except ValueError as error:
            raise Misfit(str(error), str(days)) from None
    return week


_DAY = "(?:daily|\\*|(?:{day})(?: *- *(?:{day}))?)".format(
    day="|".join(f"[{day[0]}{day[0].upper()}]{day[1:]}" for day in DAYS)
)
_HOUR = {"type": "integer", "minimum": 0, "maximum": 23}
_HOURS_SCHEMA = {
    "type": "object",
    "description": "Days and whole hours, such as {mon-fri: 8-20}.",
    "propertyNames": {"pattern": f"^{_DAY}(?: *, *{_DAY})*$"},
    "additionalProperties": {
        "anyOf": [
            _HOUR,
            {"type": "string", "pattern": f"^{_SPAN}(?:,{_SPAN})*$"},
            {"type": "array", "items": {"anyOf": [_HOUR, {"type": "string", "pattern": f"^{_SPAN}$"}]}},
        ]
    },
}
HoursField = Annotated[dict[str, frozenset[int]], BeforeValidator(parse_hours), WithJsonSchema(_HOURS_SCHEMA)]


class Thresholds(Model):
    """When a layer gets or loses load-based instances; any threshold that is crossed triggers."""

    cpu: float | None = Field(default=None, ge=-1, le=100)
    """Average CPU use of the layer in percent; -1 turns it off."""
    memory: float | None = Field(default=None, ge=-1, le=100)
    """Average memory use in percent; -1 turns it off."""
    load: float | None = Field(default=None, ge=-1)
    """Average load; -1 turns it off."""
    instances: int = Field(default=1, ge=1, le=100)
    """Instances started or stopped at once."""
    wait: int = Field(ge=1, le=100)
    """Minutes that the threshold must be exceeded."""
    ignore: int = Field(ge=1, le=100)
    """Minutes after a scaling event in which nothing more happens."""
    alarms: tuple[str, ...] = Field(default=(), max_length=5)
    """CloudWatch alarms."""


class UpScaling(Thresholds):
    """Start instances above these thresholds."""

    cpu: float | None = Field(default=80, ge=-1, le=100)
    """Average CPU use of the layer in percent; -1 turns it off."""
    wait: int = Field(default=5, ge=1, le=100)
    """Minutes that the threshold must be exceeded."""
    ignore: int = Field(default=5, ge=1, le=100)
    """Minutes after a scaling event in which nothing more happens."""


class DownScaling(Thresholds):
    """Stop instances below these thresholds."""

    cpu: float | None = Field(default=30, ge=-1, le=100)
    """Average CPU use of the layer in percent; -1 turns it off."""
    wait: int = Field(default=10, ge=1, le=100)
    """Minutes that the use must be below the threshold."""
    ignore: int = Field(default=10, ge=1, le=100)
    """Minutes after a scaling event in which nothing more happens."""


class Scaling(Model):
    """Load-based scaling of a layer."""

    enabled: bool = True
    """Whether the layer is scaled."""
    up: UpScaling = Field(default_factory=UpScaling)
    """When instances are started."""
    down: DownScaling = Field(default_factory=DownScaling)
    """When instances are stopped."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name in ("cpu", "memory", "load"):
            high, low = getattr(self.up, name), getattr(self.down, name)
            if high is not None and low is not None and -1 not in (high, low) and low >= high:
                message = f"should be below up/{name} ({high:g}), or the layer would flap; is {low:g}"
                raise Misfit(message, "down", name)
        return self
