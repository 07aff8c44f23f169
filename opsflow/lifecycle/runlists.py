"""Run lists: which recipes one event means on one instance, in order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from opsflow.model.events import LifecycleEvent, Recipes
from opsflow.model.stack import Stack

Functions = Mapping[str, Container[str]]
"""Recipe module -> the names of its functions."""


def run_list(stack: Stack, instance: str, event: LifecycleEvent, functions: Functions) -> tuple[str, ...]:
    """The recipes of ``event`` on a declared instance: layer by layer in the stack's order (decision D4)."""
    return layers_run_list(stack, stack.members[instance].layers, event, functions)


def layers_run_list(
    stack: Stack, layers: Iterable[str], event: LifecycleEvent, functions: Functions
) -> tuple[str, ...]:
    """The recipes of ``event`` for an instance of ``layers``; layers that left the stack bring none.

    Of exact repeats the first stays.
    """
    wanted = set(layers)
    found: dict[str, None] = {}
    for name, layer in stack.layers.items():
        if name in wanted:
            found |= dict.fromkeys(bound(layer.recipes, event, functions))
    return tuple(found)


def bound(recipes: Recipes, event: LifecycleEvent, functions: Functions) -> tuple[str, ...]:
    """The recipes of one layer: what its modules bring, in module order, then those spelled out."""
    brought = (f"{module}.{event}" for module in recipes.modules if event.value in functions.get(module, ()))
    return (*brought, *recipes.spelled_out(event))


def stack_recipes(stack: Stack, functions: Functions) -> tuple[str, ...]:
    """Every recipe that the stack binds to an event, sorted."""
    every = {
        recipe
        for layer in stack.layers.values()
        for event in LifecycleEvent
        for recipe in bound(layer.recipes, event, functions)
    }
    return tuple(sorted(every))


@dataclass(frozen=True, slots=True)
class UnknownRecipe:
    """A recipe or module that a layer names and no recipe path has."""

    path: str
    """Where in the stack file, such as ``layers/app/recipes/setup``."""
    name: str
    is_module: bool


def unknown_recipes(stack: Stack, functions: Functions) -> tuple[UnknownRecipe, ...]:
    """What the layers name and the catalog does not have."""
    unknown = []
    for layer_name, layer in stack.layers.items():
        where = f"layers/{layer_name}/recipes"
        for module in layer.recipes.modules:
            if module not in functions:
                unknown.append(UnknownRecipe(f"{where}/modules", module, True))
        for event in LifecycleEvent:
            for recipe in layer.recipes.spelled_out(event):
                if not known(recipe, functions):
                    unknown.append(UnknownRecipe(f"{where}/{event}", recipe, False))
    return tuple(unknown)


def known(recipe: str, functions: Functions) -> bool:
    """Whether ``module.function`` exists."""
    module, _, function = recipe.rpartition(".")
    return function in functions.get(module, ())
