"""Machines of instances: asking the provider for them, waiting for them, ending them. Intent is committed first."""

from __future__ import annotations

from typing import Any

from opsflow.controller.ledger import News
from opsflow.controller.observing import other_machine
from opsflow.controller.tokens import last_generation, token_of
from opsflow.controller.work import Work
from opsflow.errors import ProviderError
from opsflow.lifecycle.states import Trigger, can_start
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.model.state import Deployed, InstanceState, InstanceStatus

POLL = 0.5
"""Seconds between two looks at a machine that starts."""


class Machines:
    """The machines of one request's instances. Failures go to the record and to ``work``; they are not raised."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._parts = work.parts

    # ---------------------------------------------------------------------------------------- up

    def boot(self, name: str, reason: str) -> bool:
        """Bring the machine of an instance to where it answers: requested, pending, booting."""
        deadline = self._parts.clock.monotonic() + self._boot_timeout(name)
        state = self._requested(name, reason)
        try:
            machine = self._obtain(state)
            if self._get(name).status is InstanceStatus.REQUESTED:
                self._move(name, Trigger.ACCEPTED, "", machine=machine)
            running = self._started(machine, deadline)
        except ProviderError as error:
            return self._not_started(name, error.message)
        if running is None:
            return False
        if self._get(name).status is InstanceStatus.PENDING:
            self._move(name, Trigger.MACHINE_STARTS, "", machine=running)
        else:
            self._refresh(name, running)
        return self._answers(name, running, deadline)

    def _requested(self, name: str, reason: str) -> InstanceState:
        """The record in `requested` with the token of the machine to be; further on when a start is resumed."""
        state = self._work.records.find(name)
        if state is None:
            known = last_generation(self._parts.store, self._parts.stack.name, name)
            state = self._work.records.declare(name, known)
        if not can_start(state.status):
            return state
        fresh = state.token is None or (state.machine is None and state.status is InstanceStatus.STOPPED)
        generation = state.generation + 1 if fresh else state.generation
        layers = {} if name not in self._parts.stack.members else {"runs": self._parts.stack.members[name].runs}
        return self._work.records.move(
            state,
            Trigger.START,
            reason,
            run=self._work.run.id,
            data={"generation": generation},
            wanted=True,
            **(self._renewed(state, generation) if fresh else {}),
            **layers,
        )

    def _renewed(self, state: InstanceState, generation: int) -> dict[str, object]:
        """What changes when an instance gets another machine: nothing is applied there.

        Its apps stay noted, without their old releases, because the revision that somebody chose counts for the new
        machine too.
        """
        member = self._parts.stack.members[state.name]
        kept = set(self._parts.stack.apps_of(member.layers))
        apps = {app: there for app, there in _without_releases(state).items() if app in kept}
        token = token_of(state.stack, state.name, generation)
        return {
            "generation": generation,
            "token": token,
            "provider": self._parts.compute.name,
            "machine": None,
            "applied": {},
            "apps": apps,
            "layers": member.layers,
        }

    def _obtain(self, state: InstanceState) -> Machine:
        """The machine of the record's token, started; another one when it is gone."""
        if state.machine is None:
            return self._parts.compute.create(self._request(state))
        found = self._parts.compute.find(state.machine.token)
        if found is not None and found.state is not MachineState.GONE:
            self._note_other(state, found)
            return self._parts.compute.start(found)
        renewed = self._renewed(state, state.generation + 1)
        state = self._work.records.update(
            state.name,
            lambda now: now.model_copy(update=renewed),
            self._news("machine.lost", state.name, "its machine is gone; it gets a new one", state.generation + 1),
        )
        return self._parts.compute.create(self._request(state))

    def _note_other(self, state: InstanceState, machine: Machine) -> None:
        """Nothing is applied on a machine that is not the one that was set up."""
        if why := other_machine(state, machine, self._parts.compute):
            fresh = {"machine": machine, "applied": {}, "apps": _without_releases(state)}
            news = self._news("machine.changed", state.name, why, state.generation)
            self._work.records.update(state.name, lambda now: now.model_copy(update=fresh), news)

    def _request(self, state: InstanceState) -> MachineRequest:
        stack = self._parts.stack
        assert state.token is not None  # noqa: S101  set together with the status
        return MachineRequest(
            token=state.token,
            stack=stack.name,
            instance=state.name,
            host=stack.members[state.name].host,
            settings=stack.machine_of(state.name),
            options=stack.compute.options,
            tags={**stack.tags, "opsflow:stack": stack.name, "opsflow:instance": state.name},
        )

    def _started(self, machine: Machine, deadline: float) -> Machine | None:
        """The machine once it runs and has an address; None when the request was broken off.

        Raises:
            ProviderError: it ended, or the time is up.
        """
        clock = self._parts.clock
        while machine.state is not MachineState.RUNNING or machine.address is None:
            if self._work.cancel.is_set():
                return None
            if clock.monotonic() >= deadline:
                raise ProviderError("the machine did not start in time")
            clock.sleep(POLL)
            found = self._parts.compute.find(machine.token)
            if found is None or found.state in (MachineState.STOPPED, MachineState.GONE):
                raise ProviderError("the machine ended while it started")
            machine = found
        return None if self._work.cancel.is_set() else machine

    def _answers(self, name: str, machine: Machine, deadline: float) -> bool:
        left = max(1.0, deadline - self._parts.clock.monotonic())
        why_not = self._wait_ready(machine, left)
        if why_not is None:
            return True
        if self._work.cancel.is_set():
            return False
        return self._not_started(name, f"it does not answer: {why_not}", unreachable=True)

    def _wait_ready(self, machine: Machine, timeout: float) -> str | None:
        """Until it accepts a login; while it takes its time, its place may be lent."""
        with self._work.places.reaching() as reaching:
            reaching(True)
            why_not = self._parts.engine.wait_ready(machine, self._parts.context.ssh, timeout, self._work.cancel)
            reaching(False)
            return why_not

    def _not_started(self, name: str, why: str, *, unreachable: bool = False) -> bool:
        self._move(name, Trigger.START_FAILED, why)
        self._work.fail(name, why, unreachable=unreachable)
        return False

    def _boot_timeout(self, name: str) -> float:
        stack = self._parts.stack
        return (stack.timeouts_of(name) if name in stack.members else stack.timeouts).boot

    # ---------------------------------------------------------------------------------------- again

    def reconnect(self, name: str) -> bool:
        """See whether an instance answers again, after a lost connection or an interrupted reboot."""
        state = self._get(name)
        rebooting = state.status is InstanceStatus.REBOOTING
        limits = (
            self._parts.stack.timeouts_of(name) if name in self._parts.stack.members else self._parts.stack.timeouts
        )
        patience = limits.boot if rebooting else limits.connect + limits.authentication
        return self._again(state, rebooting=rebooting, patience=patience)

    def reboot(self, name: str) -> bool:
        """Restart the machine in place. No event is fired."""
        state = self._move(name, Trigger.REBOOT, "asked for")
        assert state.machine is not None  # noqa: S101  it was online
        try:
            self._parts.compute.reboot(state.machine)
        except ProviderError as error:
            return self._lost(name, error.message, unreachable=False)
        return self._again(state, rebooting=True, patience=self._boot_timeout(name))

    def _again(self, state: InstanceState, *, rebooting: bool, patience: float) -> bool:
        deadline = self._parts.clock.monotonic() + patience
        try:
            found = self._parts.compute.find(state.token or "")
            machine = None if found is None else self._started(found, deadline)
        except ProviderError as error:
            return self._lost(state.name, error.message, unreachable=False)
        if self._work.cancel.is_set():
            return False
        if machine is None:
            return self._lost(state.name, "its machine is gone", unreachable=False)
        left = max(1.0, deadline - self._parts.clock.monotonic())
        why_not = self._wait_ready(machine, left)
        if why_not is None:
            self._move(state.name, Trigger.REBOOTED if rebooting else Trigger.SEEN, "it answers again", machine=machine)
            return True
        return not self._work.cancel.is_set() and self._lost(state.name, f"it does not answer: {why_not}")

    def _lost(self, name: str, why: str, *, unreachable: bool = True) -> bool:
        if self._get(name).status is InstanceStatus.REBOOTING:
            self._move(name, Trigger.LOST, why)
        self._work.fail(name, why, unreachable=unreachable)
        return False

    # ---------------------------------------------------------------------------------------- down

    def there(self, state: InstanceState) -> Machine | None:
        """The machine as the provider sees it, also one whose creation was never noted; None when there is none.

        Raises:
            ProviderError: the provider cannot say.
        """
        return None if state.token is None else self._parts.compute.find(state.token)

    def stop(self, name: str) -> bool:
        """Stop the machine of an instance that is shutting down; its disk stays."""
        state = self._get(name)
        try:
            machine = self.there(state)
            stopped = None if machine is None else self._parts.compute.stop(machine)
        except ProviderError as error:
            return self._not_stopped(name, error.message)
        self._move(name, Trigger.STOPPED, state.reason, machine=stopped)
        return True

    def terminate(self, name: str, reason: str) -> bool:
        """End the machine of an instance and forget the instance."""
        state = self._get(name)
        if state.status not in (InstanceStatus.TERMINATING, InstanceStatus.TERMINATED):
            state = self._move(name, Trigger.TERMINATE, reason)
        try:
            machine = self.there(state) or state.machine
            if machine is not None:
                self._parts.compute.terminate(machine)
        except ProviderError as error:
            return self._not_stopped(name, error.message)
        data = {"generation": state.generation}
        text = f"{name} is terminated: {reason}"
        news = News("instance.terminated", text, instance=name, run=self._work.run.id, data=data)
        self._work.records.remove(state, news)
        return True

    def _not_stopped(self, name: str, why: str) -> bool:
        if self._get(name).status is not InstanceStatus.TERMINATED:
            self._move(name, Trigger.STOP_FAILED, why)
        self._work.fail(name, why)
        return False

    # ---------------------------------------------------------------------------------------- records

    def _get(self, name: str) -> InstanceState:
        return self._work.records.get(name)

    def _move(self, name: str, trigger: Trigger, reason: str, **update: Any) -> InstanceState:
        return self._work.records.move(self._get(name), trigger, reason, run=self._work.run.id, **update)

    def _refresh(self, name: str, machine: Machine) -> None:
        """A resumed start: the machine may have another address now."""
        if self._get(name).machine != machine:
            news = self._news("machine.changed", name, "its machine was started again", self._get(name).generation)
            self._work.records.update(name, lambda state: state.model_copy(update={"machine": machine}), news)

    def _news(self, kind: str, name: str, message: str, generation: int) -> News:
        text = f"{name}: {message}" if message else name
        return News(kind, text, instance=name, run=self._work.run.id, data={"generation": generation})


def _without_releases(state: InstanceState) -> dict[str, Deployed]:
    """The apps of an instance that gets another machine: it has none of their old releases."""
    return {app: there.model_copy(update={"previous": ()}) for app, there in state.apps.items()}
