"""Lifecycle events and the recipes that a layer binds to them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from opsflow.model.base import AlsoAccepts, Model
from opsflow.model.names import ModuleName, RecipeName


class LifecycleEvent(StrEnum):
    """What can happen to an instance (OpsWorks user guide, "Lifecycle Events")."""

    SETUP = "setup"
    """A machine has booted; also on demand."""
    CONFIGURE = "configure"
    """An instance entered or left online; runs on every online instance of the stack."""
    DEPLOY = "deploy"
    """After every setup, for all apps; on demand, for one app."""
    UNDEPLOY = "undeploy"
    """An app was removed from the stack, or on demand."""
    SHUTDOWN = "shutdown"
    """A stop was asked for; runs before the machine is stopped."""


class Recipes(Model):
    """The recipes of a layer, event by event, or as modules whose functions are named after the events."""

    modules: tuple[ModuleName, ...] = ()
    """Modules whose functions `setup`, `configure`, `deploy`, `undeploy`, `shutdown` are bound where they exist."""
    setup: tuple[RecipeName, ...] = ()
    """What `setup` runs, in order, after those of the modules."""
    configure: tuple[RecipeName, ...] = ()
    """What `configure` runs, in order, after those of the modules."""
    deploy: tuple[RecipeName, ...] = ()
    """What `deploy` runs, in order, after those of the modules."""
    undeploy: tuple[RecipeName, ...] = ()
    """What `undeploy` runs, in order, after those of the modules."""
    shutdown: tuple[RecipeName, ...] = ()
    """What `shutdown` runs, in order, after those of the modules."""

    def spelled_out(self, event: LifecycleEvent) -> tuple[str, ...]:
        """The recipes named for ``event`` (without those that the modules bring)."""
        named: tuple[str, ...] = getattr(self, event.value)
        return named


def _list_is_modules(value: object) -> object:
    """``recipes: [base, haproxy]`` is short for ``recipes: {modules: [base, haproxy]}``."""
    if isinstance(value, list | tuple):
        return {"modules": tuple(value)}
    if isinstance(value, Mapping):
        # Strict validation takes lists for tuples in JSON only, and what passes here is no longer JSON.
        return {event: tuple(names) if isinstance(names, list) else names for event, names in value.items()}
    return value


RecipesField = Annotated[
    Recipes,
    BeforeValidator(_list_is_modules),
    AlsoAccepts({"type": "array", "items": {"type": "string"}, "description": "Modules, such as [base, nginx]."}),
    Field(default_factory=Recipes),
]
