"""Before anything runs on any host: do all recipes exist, and can all of them be used?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opsflow.controller.parts import Parts
from opsflow.controller.snapshots import AppsNow, node_snapshot
from opsflow.errors import Problem, RecipeError, did_you_mean
from opsflow.lifecycle.runlists import Functions, UnknownRecipe, unknown_recipes
from opsflow.model.attributes import Attributes
from opsflow.model.machine import Machine, MachineState
from opsflow.model.snapshot import EventSnapshot
from opsflow.model.state import StackState
from opsflow.ports import HostJob, Mode


@dataclass(frozen=True, slots=True)
class Planned:
    """Recipes that are about to run."""

    instance: str
    event: str
    recipes: tuple[str, ...]
    apps: tuple[str, ...] = ()


def check(
    parts: Parts, observed: StackState, planned: Iterable[Planned], *, attributes: Attributes, mode: Mode = Mode.RUN
) -> None:
    """Refuse what cannot work.

    Raises:
        RecipeError: with every problem; nothing ran anywhere.
    """
    functions = parts.catalog.modules()
    if unknown := unknown_recipes(parts.stack, functions):
        raise RecipeError([_problem(parts, each, functions) for each in unknown])
    parts.engine.check([_job(parts, observed, each, attributes, mode) for each in planned if each.recipes])


def _problem(parts: Parts, unknown: UnknownRecipe, functions: Functions) -> Problem:
    kind = "recipe module" if unknown.is_module else "recipe"
    there = list(functions) if unknown.is_module else [f"{m}.{f}" for m in functions for f in _names(functions, m)]
    return Problem(
        file=str(parts.context.file),
        path=unknown.path,
        message=f"there is no {kind} '{unknown.name}' on the recipe paths",
        hint=did_you_mean(unknown.name, there) or f"looked in {', '.join(parts.stack.recipe_paths)}",
    )


def _names(functions: Functions, module: str) -> Iterable[str]:
    found = functions[module]
    return found if isinstance(found, Iterable) else ()


def _job(parts: Parts, observed: StackState, planned: Planned, over: Attributes, mode: Mode) -> HostJob:
    state = observed.instances.get(planned.instance)
    event = EventSnapshot(type=planned.event, reason="preflight", sent_at=parts.clock.now().isoformat())
    node = node_snapshot(
        parts.stack, observed, planned.instance, event, over=over, apps=AppsNow(deploying=planned.apps)
    )
    machine = state.machine if state else None
    return HostJob(
        run="",
        command="",
        epoch=parts.lease.epoch if parts.lease else 0,
        machine=machine or Machine(id="", token="", state=MachineState.STARTING),
        ssh=parts.context.ssh,
        recipes=planned.recipes,
        node=node,
        mode=mode,
    )
