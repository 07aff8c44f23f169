"""Names on the command line: stacks, layers, instances, apps, events and recipes, each with a did-you-mean."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions
from opsflow.cli.text import one_line
from opsflow.cli.values import suggestion
from opsflow.errors import Problem, UsageError

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.model.events import LifecycleEvent
    from opsflow.model.stack import Stack

StackArgument = Annotated[
    str, typer.Argument(metavar="STACK", autocompletion=completions.stacks, help="A stack's name or file.")
]
AppArgument = Annotated[
    str, typer.Argument(metavar="APP", autocompletion=completions.apps, help="An app of the stack.")
]


def recipe_names(modules: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every recipe, as module.function."""
    return [f"{module}.{function}" for module, functions in modules.items() for function in functions]


def named_modules(stack: Stack) -> set[str]:
    """The recipe modules that the layers name, themselves or by a recipe of theirs."""
    from opsflow.model.events import LifecycleEvent

    return {
        module
        for layer in stack.layers.values()
        for module in (
            *layer.recipes.modules,
            *(each.rpartition(".")[0] for event in LifecycleEvent for each in layer.recipes.spelled_out(event)),
        )
    }


def missing_recipes(
    loaded: LoadedStack, modules: Mapping[str, Mapping[str, Any]], without: Container[str] = ()
) -> list[Problem]:
    """What the layers name and no recipe module has, with its place in the stack file.

    What modules of ``without`` have, nobody can say.
    """
    from opsflow.model.events import LifecycleEvent

    recipes = recipe_names(modules)
    problems: list[Problem] = []
    for layer, declared in loaded.stack.layers.items():
        for place, named, there in (
            *((event.value, declared.recipes.spelled_out(event), recipes) for event in LifecycleEvent),
            ("modules", declared.recipes.modules, list(modules)),
        ):
            for index, name in enumerate(named):
                if name not in there and name not in without and name.rpartition(".")[0] not in without:
                    path, hint = ("layers", layer, "recipes", place, index), suggestion(name, there)
                    problems.append(loaded.document.problem(path, f"there is no recipe '{name}'", hint=hint))
    return problems


def event_named(name: str) -> LifecycleEvent:
    """The lifecycle event of that name.

    Raises:
        UsageError: there is none.
    """
    from opsflow.model.events import LifecycleEvent

    names = [event.value for event in LifecycleEvent]
    if name not in names:
        hint = f"{suggestion(name, names)} (a recipe is written MODULE.FUNCTION, such as nginx.setup)"
        raise UsageError(f"there is no event '{one_line(name)}'", hint=hint)
    return LifecycleEvent(name)


def events_or_recipes(
    what: Sequence[str], modules: Callable[[], Mapping[str, Mapping[str, Any]]]
) -> LifecycleEvent | tuple[str, ...]:
    """What a user asks to run: one event, or recipes (those have a dot).

    Raises:
        UsageError: a name does not exist, or there are several events.
    """
    if any("." in name for name in what):
        return known_recipes(what, modules())
    if len(what) > 1:
        hint = "several recipes can be given, as MODULE.FUNCTION"
        raise UsageError(f"one event at a time: {' '.join(what)}", hint=hint)
    return event_named(what[0])


def known_recipes(names: Sequence[str], modules: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Recipes that exist.

    Raises:
        UsageError: one does not, with the nearest one.
        RecipeError: its module cannot be parsed.
    """
    there = recipe_names(modules)
    for name in names:
        module, _, function = name.rpartition(".")
        if function not in modules.get(module, ()):
            raise UsageError(f"there is no recipe '{one_line(name)}'", hint=suggestion(name, there))
    return tuple(names)


def known_app(stack: Stack, name: str, deployed: Iterable[str] = ()) -> str:
    """An app that the stack has, or that is still deployed somewhere.

    Raises:
        UsageError: there is none, with the nearest one.
    """
    there = list(dict.fromkeys((*stack.apps, *deployed)))
    if name not in there:
        raise UsageError(f"stack '{stack.name}' has no app '{one_line(name)}'", hint=suggestion(name, there) or None)
    return name
