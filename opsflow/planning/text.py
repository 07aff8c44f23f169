"""A plan as text, like Terraform's: pure, no colour codes; each line carries a marker that says what it is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from opsflow.planning.models import Plan, Step, StepKind

WIDTH = 80


class Marker(StrEnum):
    """What a line is about: the sign that begins it, and a hint for colour."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"
    NOTE = "!"
    PLAIN = " "


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plan."""

    marker: Marker
    text: str


_MARKERS = {
    StepKind.CREATE: Marker.ADD,
    StepKind.START: Marker.ADD,
    StepKind.STOP: Marker.REMOVE,
    StepKind.TERMINATE: Marker.REMOVE,
    StepKind.UNDEPLOY: Marker.REMOVE,
}
_COUNTED = {
    StepKind.CREATE: "to create",
    StepKind.START: "to start",
    StepKind.RECONNECT: "to reconnect",
    StepKind.SETUP: "to set up",
    StepKind.DEPLOY: "to deploy on",
    StepKind.UNDEPLOY: "to undeploy from",
    StepKind.EXECUTE: "to run recipes on",
    StepKind.SHUTDOWN: "to run shutdown recipes on",
    StepKind.CONFIGURE: "to configure",
    StepKind.STOP: "to stop",
    StepKind.TERMINATE: "to terminate",
}


_TAKEN = {StepKind.CREATE: "take {} from the inventory", StepKind.TERMINATE: "leave {} to itself"}
"""How steps are called that make or end a machine, where it was there before and stays."""
_TAKEN_COUNTED = {StepKind.CREATE: "to take from the inventory", StepKind.TERMINATE: "to leave to themselves"}


def render(plan: Plan, width: int = WIDTH) -> tuple[Line, ...]:
    """The plan, line by line: instance by instance, then who configures, then the counts."""
    lines: list[Line] = []
    for steps in plan.chains().values():
        lines += _chain(steps, width)
    lines += _batches(plan, width)
    lines += _configures(plan.of(StepKind.CONFIGURE), width)
    for note in plan.notes:
        lines += _wrapped(Marker.NOTE, note, width, indent=4)
    lines.append(Line(Marker.PLAIN, summary(plan)))
    return tuple(lines)


def text(plan: Plan, width: int = WIDTH) -> str:
    """The plan as plain text."""
    return "\n".join(line.text for line in render(plan, width))


def summary(plan: Plan) -> str:
    """The last line: how many instances each kind of step concerns."""
    if plan.empty:
        return "No changes. The stack is as its file says."
    counts = [
        f"{number} {words}"
        for kind, existing, words in _counted()
        if (number := len({step.instance for step in plan.of(kind) if step.existing is existing}))
    ]
    return f"Plan: {', '.join(counts)}."


def _counted() -> Iterator[tuple[StepKind, bool, str]]:
    for kind, words in _COUNTED.items():
        yield kind, False, words
        if kind in _TAKEN_COUNTED:
            yield kind, True, _TAKEN_COUNTED[kind]


def _what(step: Step) -> str:
    return _TAKEN[step.kind].format(step.instance) if step.existing else f"{step.kind} {step.instance}"


def _chain(steps: Iterable[Step], width: int) -> Iterator[Line]:
    for position, step in enumerate(steps):
        marker = _MARKERS.get(step.kind, Marker.CHANGE)
        if position == 0:
            yield from _wrapped(marker, f"{_what(step)}: {step.reason}", width, indent=4)
        else:
            yield from _wrapped(
                Marker.PLAIN, f"then {_what(step) if step.existing else step.kind}: {step.reason}", width, indent=6
            )
        yield from _details(step, width)
    yield Line(Marker.PLAIN, "")


def _details(step: Step, width: int) -> Iterator[Line]:
    if step.apps:
        yield from _wrapped(Marker.PLAIN, f"apps: {', '.join(step.apps)}", width, indent=10)
    if step.recipes:
        yield from _wrapped(Marker.PLAIN, " -> ".join(step.recipes), width, indent=10)
    elif step.kind in (StepKind.SETUP, StepKind.DEPLOY, StepKind.UNDEPLOY, StepKind.SHUTDOWN):
        yield Line(Marker.PLAIN, f"{'':10}(no recipes to run)")


def _batches(plan: Plan, width: int) -> Iterator[Line]:
    """Why not all instances that serve go at once."""
    if plan.batches:
        first, *rest = (", ".join(batch) for batch in plan.batches)
        order = "; then ".join([first or "those that come online", *rest])
        said = f"setup again in {len(plan.batches)} batches, so that each layer keeps serving: {order}"
        yield from _wrapped(Marker.CHANGE, said, width, indent=4)
        yield Line(Marker.PLAIN, "")


def _configures(steps: Iterable[Step], width: int) -> Iterator[Line]:
    """What has the same reason and recipes shares its lines; all of it in the order of the stack."""
    reasons: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for step in steps:
        reasons.setdefault(step.reason, {}).setdefault(step.recipes, []).append(step.instance)
    for reason, groups in reasons.items():
        yield from _wrapped(Marker.CHANGE, f"configure: {reason}", width, indent=4)
        for recipes, names in groups.items():
            run = " -> ".join(recipes) or "(no recipes are bound)"
            yield from _wrapped(Marker.PLAIN, f"{', '.join(names)}: {run}", width, indent=10)
    if reasons:
        yield Line(Marker.PLAIN, "")


def _wrapped(marker: Marker, content: str, width: int, *, indent: int) -> Iterator[Line]:
    """``content`` indented, its sign before it, continuation lines two columns further in."""
    prefix = f"{marker.value} ".rjust(indent)
    lines = textwrap.wrap(
        content,
        width=width,
        initial_indent=prefix,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return (Line(marker if number == 0 else Marker.PLAIN, line) for number, line in enumerate(lines))
