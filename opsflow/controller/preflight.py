"""Before anything runs on any host: do all recipes exist, and can all of them be used?"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from opsflow.clock import Clock
from opsflow.controller.context import StackContext
from opsflow.controller.neighbours import Neighbours
from opsflow.controller.parts import Parts
from opsflow.controller.snapshots import AppsNow, node_snapshot
from opsflow.errors import Problem, RecipeError, did_you_mean
from opsflow.lifecycle.runlists import Functions, UnknownRecipe, known, run_list, unknown_recipes
from opsflow.model.attributes import Attributes
from opsflow.model.events import LifecycleEvent
from opsflow.model.machine import Machine, MachineState
from opsflow.model.snapshot import EventSnapshot
from opsflow.model.stack import Stack
from opsflow.model.state import StackState
from opsflow.ports import Engine, HostJob, Mode, RecipeCatalog


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
    epoch = parts.lease.epoch if parts.lease else 0
    job = partial(
        _job, parts.context, parts.clock, observed, epoch=epoch, over=attributes, mode=mode, neighbours=parts.neighbours
    )
    # Instances of the same layers have the same recipes, and the engine looks at each run list once.
    different = {(each.recipes, _layers(parts.stack, observed, each), each.event): each for each in planned}
    parts.engine.check([job(each) for each in different.values() if each.recipes])


def _layers(stack: Stack, observed: StackState, planned: Planned) -> tuple[str, ...]:
    there = observed.instances.get(planned.instance) or stack.members.get(planned.instance)
    return there.layers if there else ()


def check_stack(context: StackContext, *, engine: Engine, catalog: RecipeCatalog, clock: Clock) -> None:
    """Refuse what could not run on any instance of the stack, whatever there is now; names that do not exist aside.

    Raises:
        RecipeError: with every problem.
    """
    functions, stack = _Readable(catalog.modules()), context.stack
    different: dict[tuple[object, ...], Planned] = {}
    for name, member in stack.members.items():
        for event in LifecycleEvent:
            recipes = tuple(each for each in run_list(stack, name, event, functions) if known(each, functions))
            apps = stack.apps_of(member.layers) if event in (LifecycleEvent.DEPLOY, LifecycleEvent.UNDEPLOY) else ()
            if recipes:
                different.setdefault((recipes, member.layers), Planned(name, event.value, recipes, apps))
    nothing, neighbours = StackState(stack=stack.name), Neighbours()
    job = partial(_job, context, clock, nothing, epoch=0, over={}, mode=Mode.RUN, neighbours=neighbours)
    engine.check([job(each) for each in different.values()])


class _Readable(Mapping[str, Container[str]]):
    """The modules without those that cannot be parsed: these are named apart."""

    def __init__(self, modules: Functions) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Container[str]:
        try:
            return self._modules[name]
        except RecipeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


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


def _job(  # noqa: PLR0913  what a job is made of
    context: StackContext,
    clock: Clock,
    observed: StackState,
    planned: Planned,
    *,
    epoch: int,
    over: Attributes,
    mode: Mode,
    neighbours: Neighbours,
) -> HostJob:
    state = observed.instances.get(planned.instance)
    event = EventSnapshot(type=planned.event, reason="preflight", sent_at=clock.now().isoformat())
    node = node_snapshot(
        context.stack,
        observed,
        planned.instance,
        event,
        over=over,
        apps=AppsNow(deploying=planned.apps),
        neighbours=neighbours,
    )
    machine = state.machine if state else None
    return HostJob(
        run="",
        command="",
        epoch=epoch,
        machine=machine or Machine(id="", token="", state=MachineState.STARTING),
        ssh=context.ssh,
        recipes=planned.recipes,
        node=node,
        mode=mode,
    )
