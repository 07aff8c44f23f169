"""The steps of one declared instance: from the status it is in to where it should be."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass

from opsflow.lifecycle.states import why_down
from opsflow.model.events import LifecycleEvent
from opsflow.model.stack import Stack
from opsflow.model.state import InstanceState
from opsflow.model.state import InstanceStatus as S
from opsflow.planning.inputs import SET_UP_BY, Inputs
from opsflow.planning.models import Step, StepKind
from opsflow.planning.wanted import Wish

_STARTING = (S.REQUESTED, S.PENDING, S.BOOTING)
_STOPPING = (S.STOPPING, S.SHUTTING_DOWN, S.STOP_FAILED)
_TERMINATING = (S.TERMINATING, S.TERMINATED)
_DOWN = (S.STOPPED, S.START_FAILED)
_RECONNECTED = {S.REBOOTING: "its reboot was interrupted", S.CONNECTION_LOST: "its connection was lost"}
"""Statuses in which an instance that answers again is online, and why it is asked."""
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class Planner:
    """Writes the steps of instances of one stack."""

    stack: Stack
    inputs: Inputs

    def declared(self, name: str, state: InstanceState | None, wish: Wish) -> Iterator[Step]:
        """The steps for an instance of the stack file, without configure."""
        if state is None:
            if wish.running:
                yield self.create(name, f"new; {wish.reason}")
                yield from self.setup(name, "it is new to the stack" if self._existing else "after its first boot")
        elif wish.running:
            yield from self._up(name, state)
        else:
            yield from self._down(name, state, wish)

    def removed(self, state: InstanceState, reason: str) -> Iterator[Step]:
        """The steps for an instance that is to go, with its machine and record."""
        yield Step(
            kind=StepKind.TERMINATE,
            instance=state.name,
            reason=reason,
            recipes=self._shutdown(state),
            existing=self._existing,
        )

    def create(self, name: str, reason: str) -> Step:
        """Make a machine, or take the one of the inventory."""
        return Step(kind=StepKind.CREATE, instance=name, reason=reason, existing=self._existing)

    @property
    def _existing(self) -> bool:
        return self.stack.compute.provider == "static"

    def setup(self, name: str, reason: str, done: Container[LifecycleEvent] = ()) -> Iterator[Step]:
        """Setup's run list, then the deploy of all its apps, without what is ``done`` already."""
        layers = self.stack.members[name].layers
        recipes = (
            () if LifecycleEvent.SETUP in done else self.inputs.recipes_of(self.stack, layers, LifecycleEvent.SETUP)
        )
        yield Step(kind=StepKind.SETUP, instance=name, reason=reason, recipes=recipes)
        deploy = self.inputs.recipes_of(self.stack, layers, LifecycleEvent.DEPLOY)
        apps = self.stack.apps_of(layers)
        if (deploy or apps) and LifecycleEvent.DEPLOY not in done:
            yield Step(kind=StepKind.DEPLOY, instance=name, reason="after setup", recipes=deploy, apps=apps)

    def configure(self, name: str, reason: str) -> Step:
        """Rebuild its configuration."""
        recipes = self.inputs.recipes_of(self.stack, self.stack.members[name].layers, LifecycleEvent.CONFIGURE)
        return Step(kind=StepKind.CONFIGURE, instance=name, reason=reason, recipes=recipes)

    def stop(self, state: InstanceState, reason: str) -> Step:
        """Stop it, or finish its stop."""
        return Step(kind=StepKind.STOP, instance=state.name, reason=reason, recipes=self._shutdown(state))

    def start(self, state: InstanceState, reason: str) -> Step:
        """Start its machine, or make one when it has none."""
        if state.machine is None:
            return self.create(state.name, reason)
        return Step(kind=StepKind.START, instance=state.name, reason=reason)

    def _shutdown(self, state: InstanceState) -> tuple[str, ...]:
        return self.inputs.recipes_of(self.stack, state.layers, LifecycleEvent.SHUTDOWN)

    def _up(self, name: str, state: InstanceState) -> Iterator[Step]:
        if state.status is S.ONLINE or state.status in _RECONNECTED:
            if why := _RECONNECTED.get(state.status):
                yield Step(kind=StepKind.RECONNECT, instance=name, reason=why)
            yield from self._online(name, state)
            return
        layers = self.stack.members[name].layers
        yield from self._resume(name, state)
        if state.machine is not None and state.status not in _TERMINATING:
            yield from self._undeploy(state, layers)

    def _resume(self, name: str, state: InstanceState) -> Iterator[Step]:
        if state.status in (S.RUNNING_SETUP, S.SETUP_FAILED):
            done = self.inputs.done_in_setup(self.stack, state)
            yield from self.setup(name, _why_setup(state, done), done)
        else:
            yield from self._boot(name, state)

    def _boot(self, name: str, state: InstanceState) -> Iterator[Step]:
        status = state.status
        if status in _STARTING:
            yield self.start(state, f"its start was interrupted ({status})")
        elif status in _DOWN:
            failed = status is S.START_FAILED
            stopped = why_down(state) or "it is stopped and should run"
            yield self.start(state, _with("its start failed", state) if failed else stopped)
        elif status in _STOPPING:
            yield self.stop(state, f"its stop is not finished ({status})")
            yield self.start(state, "it should run")
        else:
            yield from self.removed(state, f"its end is not finished ({status})")
            yield self.create(name, "it should run")
        yield from self.setup(name, why_down(state) or "after boot")

    def _down(self, name: str, state: InstanceState, wish: Wish) -> Iterator[Step]:
        if state.status in _TERMINATING:
            yield from self.removed(state, f"its end is not finished ({state.status})")
        elif state.status is not S.STOPPED:
            yield self.stop(state, wish.reason)

    def _online(self, name: str, state: InstanceState) -> Iterator[Step]:
        yield from self._undeploy(state, state.layers)
        kept = self.stack.apps_of(self.stack.members[name].layers)
        if again := self._setup_again(name, state):
            yield from self.setup(name, again)
        elif missing := tuple(app for app in kept if app not in state.apps):
            recipes = self.inputs.recipes_of(self.stack, state.layers, LifecycleEvent.DEPLOY)
            said = f"{', '.join(missing)} is not deployed there"
            yield Step(kind=StepKind.DEPLOY, instance=name, reason=said, recipes=recipes, apps=missing)

    def _undeploy(self, state: InstanceState, layers: tuple[str, ...]) -> Iterator[Step]:
        kept = self.stack.apps_of(self.stack.members[state.name].layers)
        if gone := tuple(app for app in state.apps if app not in kept):
            recipes = self.inputs.recipes_of(self.stack, layers, LifecycleEvent.UNDEPLOY)
            said = f"{', '.join(gone)} no longer belongs to it"
            yield Step(kind=StepKind.UNDEPLOY, instance=state.name, reason=said, recipes=recipes, apps=gone)

    def _setup_again(self, name: str, state: InstanceState) -> str | None:
        layers = self.stack.members[name].layers
        if layers != state.layers:
            return f"its layers changed from {', '.join(state.layers)} to {', '.join(layers)}"
        if not self.inputs.recipes_of(self.stack, layers, LifecycleEvent.SETUP):
            return None
        if LifecycleEvent.SETUP.value not in state.applied:
            return "its setup never ran to the end"
        if state.applied[LifecycleEvent.SETUP.value] != self.inputs.digest(name, LifecycleEvent.SETUP):
            return "recipes or attributes of its setup changed"
        return None


def _why_setup(state: InstanceState, done: Collection[LifecycleEvent]) -> str:
    if done:
        last = [event for event in SET_UP_BY if event in done][-1]
        return _with(f"it goes on after its {last}", state)
    return "its setup was interrupted" if state.status is S.RUNNING_SETUP else _with("its setup failed", state)


def _with(what: str, state: InstanceState) -> str:
    """What happened, and why as far as one line says it."""
    why = state.reason.partition("\n")[0][:_LONGEST_REASON]
    return f"{what}: {why}" if why else what
