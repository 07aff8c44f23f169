"""What planning needs beside the stack and its state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from opsflow.lifecycle.runlists import Functions, layers_run_list
from opsflow.model.app import App
from opsflow.model.events import LifecycleEvent
from opsflow.model.stack import Stack
from opsflow.model.state import InstanceState, InstanceStatus, StackState
from opsflow.planning.models import Fingerprint

SET_UP_BY = (LifecycleEvent.SETUP, LifecycleEvent.DEPLOY)
"""The events that bring an instance online, in order."""

Digest = Callable[[str, LifecycleEvent], str]
"""(declared instance, event) -> digest of what a run of that event would be made from now."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The recipes that exist, and digests."""

    functions: Functions
    digest: Digest
    stack_file: str
    recipes: str

    def fingerprint(self, observed: StackState) -> Fingerprint:
        """What a plan from these inputs and this state is made from."""
        return Fingerprint(stack_file=self.stack_file, recipes=self.recipes, state=observed.version)

    def recipes_of(self, stack: Stack, layers: tuple[str, ...], event: LifecycleEvent) -> tuple[str, ...]:
        """The run list of an instance in these layers."""
        return layers_run_list(stack, layers, event, self.functions)

    def done_in_setup(self, stack: Stack, state: InstanceState) -> frozenset[LifecycleEvent]:
        """What of a setup that did not come to its end is done and would do the same again: setup, then deploy."""
        layers = stack.members[state.name].layers
        if state.status not in (InstanceStatus.RUNNING_SETUP, InstanceStatus.SETUP_FAILED) or state.layers != layers:
            return frozenset()
        done = set[LifecycleEvent]()
        for event in SET_UP_BY:
            if state.applied.get(event.value) != self.digest(state.name, event):
                break
            done.add(event)
        apps = {app_key(app): app_digest(stack.apps[app]) for app in stack.apps_of(layers)}
        return frozenset(done if apps.items() <= state.applied.items() else done - {LifecycleEvent.DEPLOY})


def app_digest(app: App) -> str:
    """Digest of where an app's code comes from and of its plain environment; secrets play no part."""
    plain = {key: entry.value.get_secret_value() for key, entry in app.environment.items() if not entry.secure}
    return digest_of({"source": app.source.model_dump(mode="json"), "environment": plain})


def digest_of(value: object) -> str:
    """Digest of JSON-like data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def app_key(app: str) -> str:
    """Where :attr:`InstanceState.applied` keeps the digest of a deployed app's settings."""
    return f"app:{app}"
