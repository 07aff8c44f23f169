"""Names on the command line: stacks, layers, instances, apps, events and recipes, each with a did-you-mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions
from opsflow.cli.text import one_line
from opsflow.cli.values import suggestion
from opsflow.errors import Problem, UsageError

if TYPE_CHECKING:
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


def missing_recipes(stack: Stack, file: str, modules: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """What the layers name and no recipe module has."""
    from opsflow.model.events import LifecycleEvent

    recipes = recipe_names(modules)
    problems = []
    for layer, declared in stack.layers.items():
        named = [(f"recipes/{event.value}", recipe, recipes) for event in LifecycleEvent
                 for recipe in declared.recipes.spelled_out(event)]  # fmt: skip
        named += [("recipes/modules", module, list(modules)) for module in declared.recipes.modules]
        problems += [
            Problem(file, f"there is no recipe '{name}'", path=f"layers/{layer}/{path}", hint=suggestion(name, there))
            for path, name, there in named
            if name not in there
        ]
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


def is_recipe(name: str) -> bool:
    """Whether it is written like a recipe."""
    return "." in name


def known_recipes(names: Sequence[str], modules: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Recipes that exist.

    Raises:
        UsageError: one does not, with the nearest one.
    """
    there = recipe_names(modules)
    for name in names:
        if name not in there:
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
