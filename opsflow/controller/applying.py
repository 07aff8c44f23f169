"""Planning, and carrying a plan out."""

from __future__ import annotations

import threading

from opsflow.controller.bundles import Bundles
from opsflow.controller.chains import Chains
from opsflow.controller.conductor import Conductor
from opsflow.controller.configures import Configures
from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.office import Office
from opsflow.controller.preflight import Planned
from opsflow.controller.rolling import Rolling
from opsflow.controller.sealing import Sealing
from opsflow.errors import UsageError
from opsflow.lifecycle.reach import Targets, statuses_for
from opsflow.model.command import CommandType
from opsflow.model.events import LifecycleEvent
from opsflow.model.state import StackState
from opsflow.planning import Plan, StepKind, plan_destroy, plan_event, plan_up
from opsflow.planning.models import LEAVES

_EVENT_OF_STEP = {
    StepKind.EXECUTE: CommandType.EXECUTE_RECIPES,
    StepKind.STOP: CommandType.SHUTDOWN,
    StepKind.TERMINATE: CommandType.SHUTDOWN,
}
_APPLICABLE = frozenset(StepKind) - {StepKind.EXECUTE, StepKind.SHUTDOWN}


class Applying:
    """Plans of whole stacks."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._parts = office.parts
        self._sealing = Sealing(office)

    def plan_up(self) -> Plan:
        """What brings the stack to what its file says."""
        observed = self._office.observe()
        plan = plan_up(self._parts.stack, observed, self._office.inputs(observed), self._parts.clock.now())
        return self._sealing.with_machines(plan, observed)

    def plan_destroy(self) -> Plan:
        """What ends every instance of the stack."""
        observed = self._office.observe()
        plan = plan_destroy(self._parts.stack, observed, self._office.inputs(observed), self._parts.clock.now())
        return self._sealing.with_machines(plan, observed)

    def with_sources(self, plan: Plan) -> Plan:
        """The plan with the revisions that it would deploy, for who wants to carry it out later."""
        return self._sealing.with_sources(plan)

    def plan_event(self, event: LifecycleEvent, targets: Targets) -> Plan:
        """What an event would run where."""
        return self._plan_command(CommandType(event.value), targets, ())

    def plan_recipes(self, recipes: tuple[str, ...], targets: Targets) -> Plan:
        """What running these recipes would do where."""
        return self._plan_command(CommandType.EXECUTE_RECIPES, targets, recipes)

    def _plan_command(self, command: CommandType, targets: Targets, recipes: tuple[str, ...]) -> Plan:
        observed = self._office.observe()
        names = self._office.choose(observed, targets, statuses_for(command), "reached")
        return plan_event(
            self._parts.stack,
            observed,
            self._office.inputs(observed),
            self._parts.clock.now(),
            command=command,
            instances=names,
            recipes=recipes,
        )

    def apply(self, plan: Plan, cancel: threading.Event | None) -> Outcome:
        """Carry a plan out.

        Raises:
            StalePlan: something that it was made from has changed.
            RecipeError: a recipe cannot be used; nothing was done.
            CapabilityError: machines are to be made or started, and this system cannot; nothing was done.
        """
        bundles = self._check(plan)
        work = self._office.open(plan.action, "apply", cancel=cancel, bundles=bundles, asked={"plan": plan.action})
        chains = plan.chains()
        work.leaving = frozenset(name for name, steps in chains.items() if steps[-1].kind in LEAVES)
        with Conductor(work) as conductor:
            work.start((), f"run {work.run.id}: {plan.action} {self._parts.stack.name}")
            Rolling(work, conductor, plan, self._office.records.state()).go(Chains(work, conductor.executor).carry_out)
            self._configure_the_rest(plan, conductor.configures)
            conductor.perform([])
        return work.finish()

    def _check(self, plan: Plan) -> Bundles:
        if plan.stack != self._parts.stack.name:
            raise UsageError(f"the plan is for the stack '{plan.stack}', not for '{self._parts.stack.name}'")
        if strange := [step.kind for step in plan.steps if step.kind not in _APPLICABLE]:
            raise UsageError(f"a plan with the step '{strange[0]}' cannot be applied; use 'opsflow run'")
        observed = self._office.records.load()
        for step in plan.steps:
            if step.instance not in self._parts.stack.members and step.instance not in observed.instances:
                raise UsageError(f"the plan names the instance '{step.instance}', which the stack does not have")
        bundles = self._sealing.check(plan, observed)
        self._preflight(plan, observed)
        if any(plan.of(StepKind.CREATE, StepKind.START)):
            self._parts.compute.check()
        return bundles

    def check_recipes(self, plan: Plan) -> None:
        """Say now what :meth:`apply` would refuse.

        Raises:
            RecipeError: a recipe of the plan cannot be used.
        """
        self._preflight(plan, self._office.observe())

    def _preflight(self, plan: Plan, observed: StackState) -> None:
        planned = [
            Planned(step.instance, _EVENT_OF_STEP.get(step.kind, step.kind).value, step.recipes, step.apps)
            for step in plan.steps
        ]
        self._office.preflight(observed, planned, RunOptions())

    def _configure_the_rest(self, plan: Plan, configures: Configures) -> None:
        """A membership change configures everyone. Without one, those whose configure is out of date."""
        steps = tuple(plan.of(StepKind.CONFIGURE))
        if configures.rounds or not steps:
            return
        observed = self._office.records.state()
        inputs = self._office.inputs(observed)
        for step in steps:
            state = observed.instances.get(step.instance)
            known = state.applied.get(LifecycleEvent.CONFIGURE.value) if state else None
            if state and state.online and known != inputs.digest(step.instance, LifecycleEvent.CONFIGURE):
                reason = "its last configure is out of date" if plan.chains() else step.reason
                configures.ask([step.instance], reason)
