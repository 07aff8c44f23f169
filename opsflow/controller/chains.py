"""What is done to one instance, in order: boot, setup with deploy, stop, terminate. One instance, one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from opsflow.controller.executor import Executor, shutdown_timeout
from opsflow.controller.machines import Machines
from opsflow.controller.work import Work
from opsflow.errors import ProviderError
from opsflow.lifecycle.runlists import layers_run_list
from opsflow.lifecycle.states import UP, Trigger, can_stop
from opsflow.model.command import Command, CommandStatus, CommandType
from opsflow.model.events import LifecycleEvent
from opsflow.model.machine import MachineState
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.planning import Step, StepKind
from opsflow.planning.inputs import SET_UP_BY

_IN_SETUP = frozenset({InstanceStatus.RUNNING_SETUP})
_IN_SHUTDOWN = frozenset({InstanceStatus.SHUTTING_DOWN})


class Chains:
    """Carries out the steps of instances. Each method says whether the next step makes sense."""

    def __init__(self, work: Work, executor: Executor) -> None:
        self._work = work
        self._executor = executor
        self.machines = Machines(work)

    def carry_out(self, name: str, steps: Sequence[Step]) -> None:
        """Take the steps of one instance in order, until one fails or the request is broken off."""
        done = self._done_by_kind()
        for before, step in zip((None, *steps), steps, strict=False):
            if step.kind is StepKind.DEPLOY and before is not None and before.kind is StepKind.SETUP:
                continue  # setup includes it
            if self._work.cancel.is_set() or not done[step.kind](step):
                return

    def _done_by_kind(self) -> Mapping[StepKind, Callable[[Step], bool]]:
        return {
            StepKind.CREATE: lambda step: self.machines.boot(step.instance, step.reason),
            StepKind.START: lambda step: self.machines.boot(step.instance, step.reason),
            StepKind.RECONNECT: lambda step: self.machines.reconnect(step.instance),
            StepKind.SETUP: lambda step: self.setup(step.instance, step.reason),
            StepKind.DEPLOY: lambda step: self.command(step, CommandType.DEPLOY),
            StepKind.UNDEPLOY: lambda step: self.command(step, CommandType.UNDEPLOY),
            StepKind.STOP: lambda step: self.stop(step.instance, step.reason),
            StepKind.TERMINATE: lambda step: self.terminate(step.instance, step.reason),
        }

    def command(self, step: Step, kind: CommandType) -> bool:
        """Deploy or undeploy apps on an online instance."""
        command = self._work.new_command(step.instance, kind, step.reason, apps=step.apps)
        return self._announced(command)

    # ---------------------------------------------------------------------------------------- setup

    def setup(self, name: str, reason: str, command: Command | None = None) -> bool:
        """Setup's run list, then the deploy of all its apps; both must succeed for it to be online.

        What its last setup finished is not run again, when that would do the same.

        Args:
            name: the instance, booted, online or with a failed setup.
            reason: why.
            command: its setup command, when it is committed already.
        """
        done = self._done_before(name) if command is None else frozenset()
        self._begin_setup(name, reason, done)
        good = LifecycleEvent.SETUP in done or self._run_setup(name, reason, command)
        good = good and (LifecycleEvent.DEPLOY in done or self._deploy_after_setup(name))
        state = self._work.records.get(name)
        if good:
            self._work.records.move(state, Trigger.SETUP_SUCCEEDED, "", run=self._work.run.id)
            return True
        why = "cancelled" if self._work.cancel.is_set() else self._why_not(name)
        self._work.records.move(state, Trigger.SETUP_FAILED, why, run=self._work.run.id)
        return False

    def _run_setup(self, name: str, reason: str, command: Command | None) -> bool:
        if command is None:
            command = self._work.new_command(name, CommandType.SETUP, reason)
            self._work.announce([command], f"setup on {name}: {reason}")
        return self._executor.run(command, among=_IN_SETUP)

    def _done_before(self, name: str) -> frozenset[LifecycleEvent]:
        observed, stack = self._work.records.state(), self._work.parts.stack
        if name not in stack.members:
            return frozenset()
        return self._work.digests.inputs(observed).done_in_setup(stack, observed.instances[name])

    def _begin_setup(self, name: str, reason: str, done: Collection[LifecycleEvent]) -> None:
        state = self._work.records.get(name)
        member = self._work.parts.stack.members.get(name)
        fields: dict[str, Any] = {"layers": member.layers, "runs": member.runs} if member else {}
        # What an earlier setup applied counts no more: how far this one came is read from here.
        void = [event.value for event in SET_UP_BY if event not in done]
        fields["applied"] = {key: digest for key, digest in state.applied.items() if key not in void}
        if state.status is InstanceStatus.RUNNING_SETUP:
            return
        trigger = Trigger.REACHABLE if state.status is InstanceStatus.BOOTING else Trigger.SETUP
        self._work.records.move(state, trigger, reason, run=self._work.run.id, **fields)

    def _deploy_after_setup(self, name: str) -> bool:
        command = self.deploy_of(name)
        return command is None or self._announced(command, among=_IN_SETUP)

    def deploy_of(self, name: str) -> Command | None:
        """The deploy that belongs to a setup: all apps of its layers; None when there is nothing to run or deploy."""
        stack = self._work.parts.stack
        layers = self._work.records.get(name).layers
        recipes = layers_run_list(stack, layers, LifecycleEvent.DEPLOY, self._work.parts.catalog.modules())
        apps = stack.apps_of(layers)
        if not (recipes or apps):
            return None
        return self._work.new_command(name, CommandType.DEPLOY, "after setup", apps=apps)

    def _why_not(self, name: str) -> str:
        bad = [c for c in self._work.commands_of(name) if c.status.final and c.status is not CommandStatus.SUCCESSFUL]
        return f"{bad[-1].type} {bad[-1].status}: {bad[-1].detail}" if bad else ""

    # ---------------------------------------------------------------------------------------- stop

    def stop(self, name: str, reason: str, *, by_hand: bool = False) -> bool:
        """Shutdown recipes, then the machine is stopped. By hand: schedules do not start it again."""
        return self._shut_down(name, reason, {"wanted": False} if by_hand else {}) and self.machines.stop(name)

    def terminate(self, name: str, reason: str) -> bool:
        """Shutdown recipes, then the machine and the record are gone."""
        status = self._work.records.get(name).status
        if status in (InstanceStatus.STOPPED, InstanceStatus.TERMINATING, InstanceStatus.TERMINATED):
            return self.machines.terminate(name, reason)
        return self._shut_down(name, reason, {}) and self.machines.terminate(name, reason)

    def _shut_down(self, name: str, reason: str, fields: dict[str, Any]) -> bool:
        """From any status to the end of shutting_down; the recipes never keep a machine alive."""
        run, state = self._work.run.id, self._work.records.get(name)
        was_up = state.status in (*UP, InstanceStatus.STOPPING, InstanceStatus.SHUTTING_DOWN)
        finished = state.status is InstanceStatus.SHUTTING_DOWN and self._shutdown_was_run(state)
        if can_stop(state.status):
            state = self._work.records.move(state, Trigger.STOP, reason, run=run, **fields)
        if state.status is InstanceStatus.STOPPING:
            state = self._work.records.move(state, Trigger.SHUT_DOWN, reason, run=run)
        if was_up and not finished and self._is_running(state):
            self._shutdown_recipes(state, reason)
        return not self._work.cancel.is_set()

    def _shutdown_was_run(self, state: InstanceState) -> bool:
        """A stop that was interrupted after its recipes: they are not run again."""
        done = (
            command
            for command in self._work.parts.store.commands(stack=state.stack)
            if command.instance == state.name and command.type is CommandType.SHUTDOWN
        )
        return any(c.status is CommandStatus.SUCCESSFUL and c.created_at >= state.changed_at for c in done)

    def _is_running(self, state: InstanceState) -> bool:
        if state.machine is None:
            return False
        try:
            found = self.machines.there(state)
        except ProviderError:
            # The stop itself asks the provider again and reports what it says.
            return True
        return found is not None and found.state is MachineState.RUNNING

    def _shutdown_recipes(self, state: InstanceState, reason: str) -> None:
        command = self._work.new_command(state.name, CommandType.SHUTDOWN, reason)
        self._work.announce([command], f"shutdown on {state.name}: {reason}")
        if shutdown_timeout(self._work, state.layers) <= 0:
            self._work.close([command], CommandStatus.SKIPPED, "the shutdown timeout is 0")
            return
        self._executor.run(command, among=_IN_SHUTDOWN)

    # ---------------------------------------------------------------------------------------- commands

    def _announced(self, command: Command, *, among: frozenset[InstanceStatus] | None = None) -> bool:
        apps = f" of {', '.join(command.apps)}" if command.apps else ""
        self._work.announce([command], f"{command.type}{apps} on {command.instance}: {command.reason}")
        return self._executor.run(command, among=among)
