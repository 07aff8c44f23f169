"""The instance states as a table: (status, trigger) -> status. OpsWorks' own, with decision D2."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from opsflow.errors import IllegalTransition
from opsflow.model.state import MEMBERS, InstanceState
from opsflow.model.state import InstanceStatus as S


class Trigger(StrEnum):
    """What can happen to an instance."""

    START = "start"
    """A user, a schedule, the load or healing wants it to run."""
    ACCEPTED = "accepted"
    """The provider took the request."""
    MACHINE_STARTS = "machine_starts"
    REACHABLE = "reachable"
    """The machine answers; its setup begins."""
    START_FAILED = "start_failed"
    SETUP = "setup"
    """The `setup` command on a machine that is up."""
    SETUP_SUCCEEDED = "setup_succeeded"
    """Setup and the deploy that belongs to it."""
    SETUP_FAILED = "setup_failed"
    REBOOT = "reboot"
    REBOOTED = "rebooted"
    STOP = "stop"
    SHUT_DOWN = "shut_down"
    """Drained; the shutdown recipes begin."""
    TERMINATE = "terminate"
    TERMINATED = "terminated"
    STOPPED = "stopped"
    STOP_FAILED = "stop_failed"
    LOST = "lost"
    """It does not answer any more."""
    SEEN = "seen"
    """It answers again."""
    MACHINE_ENDED = "machine_ended"
    """Its machine was stopped or removed behind our back."""


def _table() -> dict[tuple[S, Trigger], S]:
    table = {
        (S.REQUESTED, Trigger.ACCEPTED): S.PENDING,
        (S.PENDING, Trigger.MACHINE_STARTS): S.BOOTING,
        (S.BOOTING, Trigger.REACHABLE): S.RUNNING_SETUP,
        (S.RUNNING_SETUP, Trigger.SETUP_SUCCEEDED): S.ONLINE,
        (S.RUNNING_SETUP, Trigger.SETUP_FAILED): S.SETUP_FAILED,
        (S.ONLINE, Trigger.REBOOT): S.REBOOTING,
        (S.REBOOTING, Trigger.REBOOTED): S.ONLINE,
        (S.STOPPING, Trigger.SHUT_DOWN): S.SHUTTING_DOWN,
        (S.SHUTTING_DOWN, Trigger.STOPPED): S.STOPPED,
        (S.TERMINATING, Trigger.TERMINATED): S.TERMINATED,
        (S.TERMINATED, Trigger.STOPPED): S.STOPPED,
        (S.CONNECTION_LOST, Trigger.SEEN): S.ONLINE,
    }
    rows: tuple[tuple[Trigger, S, tuple[S, ...]], ...] = (
        (Trigger.START, S.REQUESTED, (S.STOPPED, S.START_FAILED, S.STOP_FAILED)),
        (Trigger.START_FAILED, S.START_FAILED, (S.REQUESTED, S.PENDING, S.BOOTING)),
        (Trigger.SETUP, S.RUNNING_SETUP, (S.ONLINE, S.SETUP_FAILED)),
        (Trigger.STOP, S.STOPPING, STOPPABLE),
        (Trigger.TERMINATE, S.TERMINATING, (S.STOPPED, S.SHUTTING_DOWN, S.STOP_FAILED)),
        (Trigger.STOP_FAILED, S.STOP_FAILED, (S.STOPPING, S.SHUTTING_DOWN, S.TERMINATING)),
        (Trigger.LOST, S.CONNECTION_LOST, (S.ONLINE, S.REBOOTING)),
        (Trigger.MACHINE_ENDED, S.STOPPED, UP),
    )
    for trigger, after, before in rows:
        table |= {(status, trigger): after for status in before}
    return table


UP = (S.RUNNING_SETUP, S.ONLINE, S.REBOOTING, S.SETUP_FAILED, S.CONNECTION_LOST)
"""Statuses in which there is a machine that once answered."""
STOPPABLE = (S.REQUESTED, S.PENDING, S.BOOTING, *UP, S.START_FAILED, S.STOP_FAILED)
"""Every status that is not final and not on its way to stopped."""
TRANSITIONS: Mapping[tuple[S, Trigger], S] = MappingProxyType(_table())


def transition(status: S, trigger: Trigger) -> S:
    """The status that follows.

    Raises:
        IllegalTransition: the table has no such transition.
    """
    after = TRANSITIONS.get((status, trigger))
    if after is None:
        raise IllegalTransition(f'Instance: "{trigger}" is not possible in status "{status}"')
    return after


def can(status: S, trigger: Trigger) -> bool:
    """Whether ``trigger`` is possible in ``status``."""
    return (status, trigger) in TRANSITIONS


ITS_MACHINE = "its machine "
"""How the reason begins of an instance that is stopped because its machine is not there as it was."""


def why_down(state: InstanceState) -> str:
    """What became of the machine of an instance that is stopped for that reason; nothing for others."""
    return state.reason if state.status is S.STOPPED and state.reason.startswith(ITS_MACHINE) else ""


def can_start(status: S) -> bool:
    """Whether an instance can be started (decision D2)."""
    return can(status, Trigger.START)


def can_stop(status: S) -> bool:
    """Whether an instance can be stopped."""
    return can(status, Trigger.STOP)


def can_setup(status: S) -> bool:
    """Whether the `setup` command makes sense."""
    return can(status, Trigger.SETUP)


def can_reboot(status: S) -> bool:
    """Whether an instance can be rebooted."""
    return can(status, Trigger.REBOOT)


def membership_changes(before: S, trigger: Trigger) -> bool:
    """Whether an instance enters or leaves online, so that everyone must configure. A reboot fires no event."""
    return (before in MEMBERS) != (transition(before, trigger) in MEMBERS)
