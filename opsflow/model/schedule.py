"""Schedules: an event that fires at certain times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from opsflow.errors import did_you_mean
from opsflow.model.base import Misfit, Model
from opsflow.model.events import LifecycleEvent
from opsflow.model.names import InstanceName, LayerName, RecipeName

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: Sequence[str] = ()

    def number(self, word: str) -> int | None:
        """The value of a number or name; None when it is not allowed here."""
        if word in self.words:
            return self.words.index(word) + self.low
        number = int(word) if re.fullmatch("[0-9]{1,2}", word) else -1
        return number if self.low <= number <= self.high else None


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


def check_cron(value: str) -> str:
    """A cron expression of five fields (crontab(5)), or @hourly, @daily, @weekly, @monthly.

    Raises:
        ValueError: naming the field that is wrong, or because no date ever fits.
    """
    if value in ("@hourly", "@daily", "@weekly", "@monthly"):
        return value
    parts = value.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"'{value[:100]}' has {len(parts)} fields; cron has five: minute hour day-of-month month day-of-week"
        )
    fields = [
        {number for item in part.lower().split(",") for number in _numbers(item, field)}
        for part, field in zip(parts, _FIELDS, strict=True)
    ]
    # With a day of the week as well, either of the two is enough.
    if parts[4] == "*" and all(min(fields[2]) > _LONGEST_MONTHS[month - 1] for month in fields[3]):
        raise ValueError(f"'{value}' never fires: no such month has a day {min(fields[2])}")
    return value


def _numbers(item: str, field: _Field) -> Iterable[int]:
    found = re.fullmatch(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/([0-9]{1,3}))?", item)
    if not found:
        raise ValueError(f"'{item}' is not allowed as {field.name}")
    step = int(found[2] or 1)
    if not 0 < step <= field.high:
        raise ValueError(f"'{item}': a step should be between 1 and {field.high}")
    first, _, last = found[1].partition("-")
    start = field.low if first == "*" else field.number(first)
    end = field.high if first == "*" or (found[2] and not last) else field.number(last or first)
    if start is None or end is None:
        raise ValueError(f"'{item}' is not allowed as {field.name}: use {field.low} to {field.high}")
    if start > end:
        raise ValueError(f"'{item}' runs backwards")
    return range(start, end + 1, step)


@cache
def _zones() -> frozenset[str]:
    # Reads hundreds of files, and every instance has a time zone.
    return frozenset(available_timezones())


def _zone(value: str) -> str:
    if value not in _zones():
        hint = did_you_mean(value[:100], _zones()) or "write a name such as Europe/Zurich"
        raise Misfit(f"'{value[:100]}' is not a time zone of the IANA database", hint=hint)
    return value


Cron = Annotated[str, AfterValidator(check_cron)]
TimeZone = Annotated[str, AfterValidator(_zone)]


class Schedule(Model):
    """Fire ``event`` (or ``recipes``) on the instances of ``layers`` (default: all) at the times of ``cron``."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["event"], "properties": {"event": {"type": "string"}}},
                {"required": ["recipes"], "properties": {"recipes": {"minItems": 1}}},
            ]
        }
    )

    cron: Cron
    """Five fields as in crontab(5), or @hourly, @daily, @weekly or @monthly."""
    timezone: TimeZone = "UTC"
    """The time zone of `cron`."""
    event: LifecycleEvent | None = None
    """The lifecycle event to fire."""
    recipes: tuple[RecipeName, ...] = ()
    """The recipes to run, instead of an event."""
    layers: tuple[LayerName, ...] = ()
    """Only on instances of these layers."""
    instances: tuple[InstanceName, ...] = ()
    """Only on these instances."""
    enabled: bool = Field(default=True)
    """Whether it fires."""

    @model_validator(mode="after")
    def _one_job(self) -> Self:
        if (self.event is None) == (not self.recipes):
            raise Misfit("needs either event or recipes", hint="write event: configure, or recipes: [module.function]")
        return self
