"""Desired x observed x now -> Plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from opsflow.lifecycle.coalescing import why
from opsflow.model.events import LifecycleEvent
from opsflow.model.stack import Stack
from opsflow.model.state import StackState
from opsflow.planning.chains import Planner
from opsflow.planning.inputs import Inputs, app_digest, app_key
from opsflow.planning.models import LEAVES, Plan, Step, StepKind, chains_of
from opsflow.planning.rolling import rolling
from opsflow.planning.wanted import wish

_JOINS = (StepKind.CREATE, StepKind.START, StepKind.RECONNECT, StepKind.SETUP)


def plan_up(stack: Stack, observed: StackState, inputs: Inputs, now: datetime) -> Plan:
    """What brings the stack to what its file says. Empty when nothing is to be done."""
    planner = Planner(stack, inputs)
    steps: list[Step] = []
    for name, instance in stack.members.items():
        state = observed.instances.get(name)
        steps += planner.declared(name, state, wish(instance, state, now))
    for name, state in observed.instances.items():
        if name not in stack.members:
            steps += planner.removed(state, "it is no longer declared")
    batches = rolling(observed, chains_of(steps), {name: each.layers for name, each in stack.members.items()})
    steps += _configures(planner, observed, steps)
    return Plan(
        stack=stack.name,
        action="up",
        made_at=now,
        fingerprint=inputs.fingerprint(observed),
        steps=tuple(steps),
        batches=batches,
        notes=tuple(_notes(stack, observed)),
    )


def plan_destroy(stack: Stack, observed: StackState, inputs: Inputs, now: datetime) -> Plan:
    """What ends every instance of the stack."""
    planner = Planner(stack, inputs)
    steps = [step for state in observed.instances.values() for step in planner.removed(state, "the stack is destroyed")]
    return Plan(
        stack=stack.name,
        action="destroy",
        made_at=now,
        fingerprint=inputs.fingerprint(observed),
        steps=tuple(steps),
    )


def _configures(planner: Planner, observed: StackState, steps: Sequence[Step]) -> Iterator[Step]:
    """Configure on every instance that will be online, when one enters or leaves; else where its inputs changed."""
    last = {step.instance: step.kind for step in steps}
    joined = [
        name
        for name in dict.fromkeys(step.instance for step in steps if _joins(step, observed))
        if last[name] not in LEAVES
    ]
    left = [name for name, kind in last.items() if kind in LEAVES and name in observed.online]
    for name in planner.stack.members:
        stays = name in observed.online and last.get(name) not in LEAVES
        if not (stays or name in joined):
            continue
        if joined or left:
            yield planner.configure(name, why(joined, left))
        elif reason := _configure_again(planner, observed, name):
            yield planner.configure(name, reason)


def _joins(step: Step, observed: StackState) -> bool:
    """Whether its instance comes online by it; one that reboots was never out."""
    rebooted = step.kind is StepKind.RECONNECT and step.instance in observed.online
    return step.kind in _JOINS and not rebooted


def _configure_again(planner: Planner, observed: StackState, name: str) -> str | None:
    state = observed.instances[name]
    if not planner.inputs.recipes_of(planner.stack, state.layers, LifecycleEvent.CONFIGURE):
        return None
    applied = state.applied.get(LifecycleEvent.CONFIGURE.value)
    if applied is None:
        return "its configure never ran to the end"
    if applied != planner.inputs.digest(name, LifecycleEvent.CONFIGURE):
        return "the stack, recipes or attributes of its configure changed"
    return None


def _notes(stack: Stack, observed: StackState) -> Iterator[str]:
    for app_name, app in stack.apps.items():
        digest = app_digest(app)
        older = [
            name
            for name, state in observed.instances.items()
            if app_name in state.apps and state.applied.get(app_key(app_name), digest) != digest
        ]
        if older:
            yield (
                f"the source or environment of {app_name} changed since it was deployed on {', '.join(older)}; "
                f"'opsflow deploy {stack.name} {app_name}' brings it there"
            )
