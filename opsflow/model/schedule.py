"""Schedules: an event that fires at certain times."""

from __future__ import annotations

import re
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from opsflow.model.base import Model
from opsflow.model.events import LifecycleEvent
from opsflow.model.names import InstanceName, LayerName, RecipeName

_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_NAMES = {
    name: number
    for names, first in (
        (("jan feb mar apr may jun jul aug sep oct nov dec"), 1),
        ("sun mon tue wed thu fri sat", 0),
    )
    for number, name in enumerate(names.split(), first)
}


def check_cron(value: str) -> str:
    """A cron expression of five fields (crontab(5)), or @hourly, @daily, @weekly, @monthly.

    Raises:
        ValueError: naming the field that is wrong.
    """
    if value in ("@hourly", "@daily", "@weekly", "@monthly"):
        return value
    parts = value.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"'{value}' has {len(parts)} fields; cron has five: minute hour day-of-month month day-of-week"
        )
    for part, (name, low, high) in zip(parts, _FIELDS, strict=True):
        for item in part.split(","):
            _check_item(item, name, low, high)
    return value


def _check_item(item: str, name: str, low: int, high: int) -> None:
    found = re.fullmatch(r"(\*|[a-z0-9]+(?:-[a-z0-9]+)?)(?:/(\d+))?", item.lower())
    if not found:
        raise ValueError(f"'{item}' is not allowed as {name}")
    if found[2] is not None and int(found[2]) == 0:
        raise ValueError(f"'{item}': a step of 0 never fires")
    if found[1] == "*":
        return
    ends = [_NAMES.get(end, end) for end in found[1].split("-")]
    if not all(str(end).isdigit() and low <= int(end) <= high for end in ends):
        raise ValueError(f"'{item}' is not allowed as {name}: use {low} to {high}")
    if len(ends) == 2 and int(ends[0]) > int(ends[1]):
        raise ValueError(f"'{item}' runs backwards")


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"'{value}' is not a time zone of the IANA database, such as Europe/Zurich")
    return value


Cron = Annotated[str, AfterValidator(check_cron)]
TimeZone = Annotated[str, AfterValidator(_zone)]


class Schedule(Model):
    """Fire ``event`` (or ``recipes``) on the instances of ``layers`` (default: all) at the times of ``cron``."""

    cron: Cron
    timezone: TimeZone = "UTC"
    event: LifecycleEvent | None = None
    recipes: tuple[RecipeName, ...] = ()
    layers: tuple[LayerName, ...] = ()
    instances: tuple[InstanceName, ...] = ()
    enabled: bool = Field(default=True)

    @model_validator(mode="after")
    def _one_job(self) -> Self:
        if (self.event is None) == (not self.recipes):
            raise ValueError("needs either event or recipes")
        return self
