"""What becomes of commands and of the run that they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opsflow.errors import ExitCode, IllegalTransition
from opsflow.model.command import CommandStatus as C
from opsflow.model.command import RunStatus
from opsflow.model.result import HostStatus

TRANSITIONS: Mapping[C, frozenset[C]] = {
    C.PENDING: frozenset({C.RUNNING, C.SUCCESSFUL, C.FAILED, C.SKIPPED, C.SUPERSEDED, C.CANCELLED}),
    C.RUNNING: frozenset({C.SUCCESSFUL, C.FAILED, C.EXPIRED, C.CANCELLED}),
}
"""A command without recipes is successful at once; everything else passes through running."""

_OF_HOST: Mapping[HostStatus, C] = {
    HostStatus.OK: C.SUCCESSFUL,
    HostStatus.FAILED: C.FAILED,
    HostStatus.TIMEOUT: C.EXPIRED,
    HostStatus.UNREACHABLE: C.FAILED,
    HostStatus.CANCELLED: C.CANCELLED,
    HostStatus.SKIPPED: C.SKIPPED,
}
BAD = frozenset({C.FAILED, C.EXPIRED})


def advance(before: C, after: C) -> C:
    """``after``, when a command may go there.

    Raises:
        IllegalTransition: it may not; a final status is never left.
    """
    if after not in TRANSITIONS.get(before, ()):
        raise IllegalTransition(f"Command: {before} cannot become {after}")
    return after


def status_of(host: HostStatus) -> C:
    """What a host's result makes of its command."""
    return _OF_HOST[host]


def run_status(commands: Iterable[C], *, cancelled: bool = False, failed: bool = False) -> RunStatus:
    """What a run is when nothing of it is pending or running any more.

    Args:
        commands: statuses of its commands.
        cancelled: the user broke it off.
        failed: something else than a command failed, such as a machine that did not start.
    """
    statuses = set(commands)
    if unfinished := [status for status in statuses if not status.final]:
        raise IllegalTransition(f"a run with {unfinished[0]} commands is not over")
    if cancelled:
        return RunStatus.CANCELLED
    if failed or statuses & BAD or C.CANCELLED in statuses:
        return RunStatus.FAILED
    return RunStatus.SUCCESSFUL


def exit_code(status: RunStatus, *, failed: int, unreachable: int) -> ExitCode:
    """What the process exits with: 130 when cancelled, 69 when hosts were unreachable and nothing else failed."""
    if status is RunStatus.CANCELLED:
        return ExitCode.INTERRUPTED
    if status is RunStatus.SUCCESSFUL:
        return ExitCode.OK
    return ExitCode.UNREACHABLE if unreachable and not failed else ExitCode.FAILED
