"""What a plan was made from beside the stack's own files and records: machines, and the code of apps."""

from __future__ import annotations

from collections.abc import Iterable

from opsflow.controller.bundles import Bundles
from opsflow.controller.office import Office
from opsflow.model.machine import Machine, MachineState
from opsflow.model.secrecy import without_secret_values
from opsflow.model.state import StackState
from opsflow.planning import Plan, StepKind
from opsflow.planning.inputs import digest_of
from opsflow.redact import MASK

_NONE = "none"
_SHOWN = 12


class Sealing:
    """Completes the fingerprints of plans, and checks them."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._parts = office.parts

    def with_machines(self, plan: Plan, observed: StackState) -> Plan:
        """The plan with the machines that it was made for.

        Raises:
            ProviderError: the provider cannot say which machines there are, or might be taken.
        """
        return _stamped(plan, machines=self._machines(plan, observed))

    def with_sources(self, plan: Plan) -> Plan:
        """The plan with the revisions that it would deploy; they are fetched for that.

        Raises:
            SourceError: one cannot be fetched.
        """
        observed = self._office.observe()
        return _stamped(plan, sources=_revisions(plan, observed, Bundles(self._parts)))

    def check(self, plan: Plan, observed: StackState) -> Bundles:
        """Refuse a plan when something that it was made from has changed; what was fetched for that.

        Raises:
            StalePlan: it says what changed.
            SourceError: the code of an app that it would deploy cannot be fetched.
        """
        bundles = Bundles(self._parts)
        now = self._office.inputs(observed).fingerprint(observed)
        parts: dict[str, object] = {"machines": self._machines(plan, observed)}
        if self._office.only_recovered(plan.fingerprint.state, observed.version):
            parts["state"] = plan.fingerprint.state
        plan.fingerprint.check(now.model_copy(update=parts | {"sources": plan.fingerprint.sources}))
        if plan.fingerprint.sources is not None:
            parts["sources"] = _revisions(plan, observed, bundles)
            plan.fingerprint.check(now.model_copy(update=parts))
        return bundles

    def _machines(self, plan: Plan, observed: StackState) -> dict[str, str]:
        """Instance -> the machine that it has, or that it would take because it exists already."""
        records, compute = observed.instances, self._parts.compute
        there = {machine.token: machine for machine in compute.list(observed.stack)} if records else {}
        machines = {name: there.get(record.token or "") for name, record in records.items()}
        for step in plan.of(StepKind.CREATE):
            member = self._parts.stack.members.get(step.instance)
            if member is not None and machines.get(step.instance) is None:
                machines[step.instance] = compute.prospect(member.host or step.instance)
        return {name: _described(machine) for name, machine in machines.items()}


def _stamped(plan: Plan, **parts: object) -> Plan:
    return plan.model_copy(update={"fingerprint": plan.fingerprint.model_copy(update=parts)})


def _revisions(plan: Plan, observed: StackState, bundles: Bundles) -> dict[str, str]:
    apps: Iterable[str] = dict.fromkeys(app for step in plan.of(StepKind.DEPLOY) for app in step.apps)
    return {app: bundles.fetch(app, observed).revision for app in apps}


def _described(machine: Machine | None) -> str:
    """Where it is, whether it is up, and a digest of what else is known of it."""
    if machine is None:
        return _NONE
    up = machine.state in (MachineState.RUNNING, MachineState.STARTING)
    # Without secrets: a digest of them could be tried out.
    known = {"user": machine.user, "keys": sorted(machine.host_keys), "data": without_secret_values(machine.data, MASK)}
    state = "up" if up else machine.state.value
    return f"{machine.address} port {machine.port}, {state}, {digest_of(known)[:_SHOWN]}"
