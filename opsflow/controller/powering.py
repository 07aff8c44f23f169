"""Starting, stopping and rebooting instances by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from opsflow.controller.chains import Chains
from opsflow.controller.conductor import Conductor
from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.office import Office, targets_as_data
from opsflow.controller.preflight import Planned
from opsflow.controller.rollout import Rollout
from opsflow.controller.work import Work
from opsflow.errors import CannotRestart
from opsflow.lifecycle.reach import Targets
from opsflow.lifecycle.runlists import layers_run_list
from opsflow.lifecycle.states import can_reboot, can_start, can_stop
from opsflow.model.events import LifecycleEvent
from opsflow.model.state import InstanceStatus, StackState

_REASON = "asked for"
_HALF_STARTED = (
    InstanceStatus.REQUESTED,
    InstanceStatus.PENDING,
    InstanceStatus.BOOTING,
    InstanceStatus.SETUP_FAILED,
)
_HALF_STOPPED = (InstanceStatus.STOPPING, InstanceStatus.SHUTTING_DOWN)
_HALF_REBOOTED = (InstanceStatus.REBOOTING, InstanceStatus.CONNECTION_LOST)
_STARTING = (LifecycleEvent.SETUP, LifecycleEvent.DEPLOY, LifecycleEvent.CONFIGURE)


class Powering:
    """Starts, stops and reboots."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._stack = office.parts.stack

    def start(self, targets: Targets, cancel: threading.Event | None, *, again: bool = False) -> Outcome:
        """Start instances: machine, setup, deploy, online, configure on everyone. Without targets all 24/7 ones.

        Args:
            targets: which instances.
            cancel: breaks it off.
            again: go on with a start that failed or was interrupted, wherever it had come to.
        """
        observed = self._office.records.load()
        statuses = [s for s in InstanceStatus if can_start(s) or (again and s in _HALF_STARTED)]
        among = [
            each
            for each in self._office.candidates(observed)
            if (member := self._stack.members.get(each.name)) and (not targets.everything or member.runs == "always")
        ]
        names = self._office.choose(observed, targets, statuses, "started", among=among)
        self._preflight(observed, names, _STARTING)
        self._office.parts.compute.check()
        return self._each("start", names, targets, cancel, lambda chains: partial(self._start, chains))

    def stop(self, targets: Targets, cancel: threading.Event | None, *, again: bool = False) -> Outcome:
        """Stop instances: shutdown recipes, machine stopped, configure on the others."""
        observed = self._office.records.load()
        statuses = [s for s in InstanceStatus if can_stop(s) or (again and s in _HALF_STOPPED)]
        names = self._office.choose(observed, targets, statuses, "stopped")
        self._preflight(observed, names, (LifecycleEvent.SHUTDOWN,))
        return self._each(
            "stop", names, targets, cancel, lambda chains: lambda name: chains.stop(name, _REASON, by_hand=True)
        )

    def reboot(self, targets: Targets, cancel: threading.Event | None, *, again: bool = False) -> Outcome:
        """Restart machines in place; no event is fired. Again: see whether those that were lost answer by now.

        Raises:
            CannotRestart: the provider has no power over its machines; nothing was done.
        """
        if not self._office.parts.compute.powers:
            raise CannotRestart(self._office.parts.compute.name, self._stack.name)
        observed = self._office.records.load()
        statuses = [s for s in InstanceStatus if can_reboot(s) or (again and s in _HALF_REBOOTED)]
        names = self._office.choose(observed, targets, statuses, "rebooted")
        return self._each("reboot", names, targets, cancel, lambda chains: partial(self._reboot, chains))

    def _start(self, chains: Chains, name: str) -> bool:
        state = self._office.records.find(name)
        booted = state is not None and state.status is InstanceStatus.SETUP_FAILED
        return (booted or chains.machines.boot(name, _REASON)) and chains.setup(name, _REASON)

    def _reboot(self, chains: Chains, name: str) -> bool:
        # A configure that waits for its turn runs when the machine is back.
        with self._office.parts.locks.of(name):
            online = can_reboot(self._office.records.get(name).status)
            return chains.machines.reboot(name) if online else chains.machines.reconnect(name)

    def _each(
        self,
        action: str,
        names: Sequence[str],
        targets: Targets,
        cancel: threading.Event | None,
        job: Callable[[Chains], Callable[[str], object]],
    ) -> Outcome:
        work = self._office.open(action, action, cancel=cancel, asked={"targets": targets_as_data(targets)})
        if action == "stop":
            work.leaving = frozenset(names)
        return self._carry_out(work, names, job)

    def _carry_out(self, work: Work, names: Sequence[str], job: Callable[[Chains], Callable[[str], object]]) -> Outcome:
        with Conductor(work) as conductor:
            work.start((), f"run {work.run.id}: {work.run.action} {', '.join(names)}")
            Rollout(work, conductor, names).go(job(Chains(work, conductor.executor)))
        return work.finish()

    def _preflight(self, observed: StackState, names: Sequence[str], events: Sequence[LifecycleEvent]) -> None:
        functions = self._office.parts.catalog.modules()
        planned = []
        for name in names:
            layers = self._layers(observed, name)
            for event in events:
                planned.append(Planned(name, event.value, layers_run_list(self._stack, layers, event, functions)))
        self._office.preflight(observed, planned, RunOptions())

    def _layers(self, observed: StackState, name: str) -> tuple[str, ...]:
        member = self._stack.members.get(name)
        return member.layers if member else observed.instances[name].layers
