"""The records beside the machines that are there: what recovering writes down, a plan and a status only see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from opsflow.lifecycle.states import ITS_MACHINE, UP, Trigger, transition
from opsflow.model.machine import Machine, MachineState
from opsflow.model.state import InstanceState, InstanceStatus, StackState
from opsflow.ports import ComputeProvider

_RUNS = (MachineState.RUNNING, MachineState.STARTING)


@dataclass(frozen=True, slots=True)
class Finding:
    """What the provider's answer means for one record."""

    machine: Machine | None
    """The machine that the record should have."""
    ended: str = ""
    """Why the instance is not up any more."""


def finding(state: InstanceState, machine: Machine | None, compute: ComputeProvider) -> Finding:
    """Compare a record with its machine; None when the provider has none."""
    running = machine is not None and machine.state in _RUNS
    if state.status in UP and not running:
        if machine is None or machine.state is MachineState.GONE:
            return Finding(None, f"{ITS_MACHINE}is gone without opsflow")
        return Finding(machine, f"{ITS_MACHINE}was {machine.state} without opsflow")
    if machine is not None and (other := other_machine(state, machine, compute)):
        return Finding(state.machine, other if state.status in UP else "")
    return Finding(machine if machine is not None and (state.machine is None or running) else state.machine)


def other_machine(state: InstanceState, machine: Machine, compute: ComputeProvider) -> str:
    """Why ``machine``, which the provider describes by the record's token, is not the one that was set up, or nothing.

    A provider that switches machines on may give one another address then; the address of an existing machine only
    changes when somebody writes another one down.
    """
    was = state.machine
    if was is None:
        return ""
    if not compute.powers and _place(was) != _place(machine):
        with_port = was.port != machine.port
        return f"{ITS_MACHINE}changed: {_said(was, with_port)} -> {_said(machine, with_port)}"
    before, now = _keys(was.host_keys or state.known_by), _keys(machine.host_keys)
    if before and now and not before & now:
        return f"{ITS_MACHINE}changed: {machine.address} has another host key"
    return ""


def other_machines(state: StackState, compute: ComputeProvider) -> dict[str, str]:
    """The instances whose machine is not the one that was set up, and why.

    Raises:
        ProviderError: the provider cannot say which machines there are.
    """
    machines = {machine.token: machine for machine in compute.list(state.stack)}
    described = {name: (record, machines.get(record.token or "")) for name, record in state.instances.items()}
    every = {name: other_machine(record, machine, compute) for name, (record, machine) in described.items() if machine}
    return {name: why for name, why in every.items() if why}


def _place(machine: Machine) -> tuple[str | None, int]:
    return machine.address, machine.port


def _said(machine: Machine, with_port: bool) -> str:
    return f"{machine.address} port {machine.port}" if with_port else str(machine.address)


def _keys(keys: Iterable[str]) -> frozenset[str]:
    """Kind and key, without comments."""
    return frozenset(" ".join(key.split()[:2]) for key in keys)


def seen(state: StackState, compute: ComputeProvider, now: datetime) -> StackState:
    """The state as recovering would leave it, with nothing written.

    Raises:
        ProviderError: the provider cannot say which machines there are.
    """
    if not any(_its(record, compute) for record in state.instances.values()):
        return state
    machines = {machine.token: machine for machine in compute.list(state.stack)}
    records = {
        name: _as_found(record, machines, compute, now) if _its(record, compute) else record
        for name, record in state.instances.items()
    }
    return state.model_copy(update={"instances": records})


def _its(record: InstanceState, compute: ComputeProvider) -> bool:
    """Whether this provider can tell of its machine: of another one's it knows nothing.

    One that reboots may be off at this moment because somebody else carries that out.
    """
    known = record.token is not None and record.provider in (None, compute.name)
    return known and record.status is not InstanceStatus.REBOOTING


def _as_found(
    record: InstanceState, machines: Mapping[str, Machine], compute: ComputeProvider, now: datetime
) -> InstanceState:
    found = finding(record, machines.get(record.token or ""), compute)
    if not found.ended:
        return record.model_copy(update={"machine": found.machine})
    status = transition(record.status, Trigger.MACHINE_ENDED)
    change = {"status": status, "reason": found.ended, "machine": found.machine}
    return record.model_copy(update={**change, "changed_at": now, "online_since": None})
