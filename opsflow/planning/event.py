"""The plan of one event, or of a list of recipes, that a user asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from opsflow.model.command import CommandType
from opsflow.model.events import LifecycleEvent
from opsflow.model.stack import Stack
from opsflow.model.state import StackState
from opsflow.planning.chains import Planner
from opsflow.planning.inputs import Inputs
from opsflow.planning.models import Plan, Step, StepKind

_KINDS = {
    CommandType.CONFIGURE: StepKind.CONFIGURE,
    CommandType.DEPLOY: StepKind.DEPLOY,
    CommandType.ROLLBACK: StepKind.DEPLOY,
    CommandType.UNDEPLOY: StepKind.UNDEPLOY,
    CommandType.SHUTDOWN: StepKind.SHUTDOWN,
    CommandType.EXECUTE_RECIPES: StepKind.EXECUTE,
}
_EVENTS = {CommandType.ROLLBACK: LifecycleEvent.DEPLOY}


def plan_event(
    stack: Stack,
    observed: StackState,
    inputs: Inputs,
    now: datetime,
    *,
    command: CommandType,
    instances: Sequence[str],
    recipes: Sequence[str] = (),
    apps: Sequence[str] | None = None,
) -> Plan:
    """What ``command`` on ``instances`` would do; setup takes an instance out of service, so all configure after it."""
    planner = Planner(stack, inputs)
    if command is CommandType.SETUP:
        steps = [step for name in instances for step in planner.setup(name, "asked for")]
        members = dict.fromkeys((*observed.online, *instances))
        steps += [
            planner.configure(name, f"setup of {', '.join(instances)}") for name in members if name in stack.members
        ]
    else:
        steps = list(_commands(planner, observed, command, instances, tuple(recipes), apps))
    return Plan(
        stack=stack.name,
        action=command.value,
        made_at=now,
        fingerprint=inputs.fingerprint(observed),
        steps=tuple(steps),
    )


def _commands(
    planner: Planner,
    observed: StackState,
    command: CommandType,
    instances: Sequence[str],
    recipes: tuple[str, ...],
    apps: Sequence[str] | None,
) -> Iterator[Step]:
    for name in instances:
        state = observed.instances.get(name)
        layers = state.layers if state else planner.stack.members[name].layers
        bound = recipes
        if command is not CommandType.EXECUTE_RECIPES:
            event = _EVENTS.get(command) or LifecycleEvent(command.value)
            bound = planner.inputs.recipes_of(planner.stack, layers, event)
        yield Step(
            kind=_KINDS[command],
            instance=name,
            reason="asked for",
            recipes=bound,
            apps=tuple(planner.stack.apps_of(layers) if apps is None and command is CommandType.DEPLOY else apps or ()),
        )
