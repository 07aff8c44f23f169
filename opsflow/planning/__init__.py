"""Desired x observed x now -> Plan; rollout batches; hours: pure."""

from opsflow.planning.event import plan_event
from opsflow.planning.inputs import Inputs
from opsflow.planning.models import Fingerprint, Plan, Step, StepKind
from opsflow.planning.rollout import batch_size, batches, fail_limit_exceeded
from opsflow.planning.up import plan_destroy, plan_up

__all__ = [
    "Fingerprint",
    "Inputs",
    "Plan",
    "Step",
    "StepKind",
    "batch_size",
    "batches",
    "fail_limit_exceeded",
    "plan_destroy",
    "plan_event",
    "plan_up",
]
