"""Whether a declared instance should run now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from opsflow.model.instance import Instance
from opsflow.model.state import InstanceState
from opsflow.model.state import InstanceStatus as S
from opsflow.planning.hours import next_change, runs_at

GOING_DOWN = frozenset({S.STOPPING, S.SHUTTING_DOWN, S.TERMINATING, S.TERMINATED, S.STOP_FAILED, S.STOPPED})


@dataclass(frozen=True, slots=True)
class Wish:
    """Should it run, and why."""

    running: bool
    reason: str


def wish(instance: Instance, state: InstanceState | None, now: datetime) -> Wish:
    """What is wanted of a declared instance: 24/7 yes, by its hours, or as its load scaling left it."""
    if instance.runs == "always":
        return Wish(True, "it runs 24/7")
    if instance.runs == "time":
        return _by_hours(instance, now)
    up = state is not None and state.status not in GOING_DOWN
    return Wish(up, "load decides when it runs")


def _by_hours(instance: Instance, now: datetime) -> Wish:
    hours = instance.hours or {}
    running = runs_at(hours, instance.timezone, now)
    change = next_change(hours, instance.timezone, now)
    if change is None:
        return Wish(running, "all hours are its hours" if running else "it has no hours")
    local = change.astimezone(ZoneInfo(instance.timezone))
    when = f"until {local:%a %H:%M} {instance.timezone}"
    return Wish(running, f"its hours, {when}" if running else f"outside its hours {when}")
