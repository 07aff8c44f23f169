"""The records beside the machines that are there: what recovering writes down, a plan and a status only see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from opsflow.lifecycle.states import UP, Trigger, transition
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


def finding(state: InstanceState, machine: Machine | None) -> Finding:
    """Compare a record with its machine; None when the provider has none."""
    running = machine is not None and machine.state in _RUNS
    if state.status in UP and not running:
        if machine is None or machine.state is MachineState.GONE:
            return Finding(None, "its machine is gone without opsflow")
        return Finding(machine, f"its machine was {machine.state} without opsflow")
    return Finding(machine if machine is not None and (state.machine is None or running) else state.machine)


def seen(state: StackState, compute: ComputeProvider, now: datetime) -> StackState:
    """The state as recovering would leave it, with nothing written.

    Raises:
        ProviderError: the provider cannot say which machines there are.
    """
    if not any(_its(record, compute) for record in state.instances.values()):
        return state
    machines = {machine.token: machine for machine in compute.list(state.stack)}
    records = {
        name: _as_found(record, machines, now) if _its(record, compute) else record
        for name, record in state.instances.items()
    }
    return state.model_copy(update={"instances": records})


def _its(record: InstanceState, compute: ComputeProvider) -> bool:
    """Whether this provider can tell of its machine: of another one's it knows nothing.

    One that reboots may be off at this moment because somebody else carries that out.
    """
    known = record.token is not None and record.provider in (None, compute.name)
    return known and record.status is not InstanceStatus.REBOOTING


def _as_found(record: InstanceState, machines: Mapping[str, Machine], now: datetime) -> InstanceState:
    found = finding(record, machines.get(record.token or ""))
    if not found.ended:
        return record.model_copy(update={"machine": found.machine})
    status = transition(record.status, Trigger.MACHINE_ENDED)
    change = {"status": status, "reason": found.ended, "machine": found.machine}
    return record.model_copy(update={**change, "changed_at": now, "online_since": None})
