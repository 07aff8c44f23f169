import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.errors import ExitCode, IllegalTransition
from opsflow.lifecycle.commands import TRANSITIONS, advance, exit_code, run_status, status_of
from opsflow.model.command import CommandStatus as C
from opsflow.model.command import RunStatus
from opsflow.model.result import HostStatus


def test_final_is_final():
    for before in C:
        for after in C:
            if before.final:
                with pytest.raises(IllegalTransition):
                    advance(before, after)
    assert advance(C.PENDING, C.RUNNING) is C.RUNNING


def test_a_running_command_is_never_superseded():
    assert C.SUPERSEDED not in TRANSITIONS[C.RUNNING]
    assert C.SUPERSEDED in TRANSITIONS[C.PENDING]


def test_what_a_hosts_result_makes_of_its_command():
    assert {host: status_of(host) for host in HostStatus} == {
        HostStatus.OK: C.SUCCESSFUL,
        HostStatus.FAILED: C.FAILED,
        HostStatus.TIMEOUT: C.EXPIRED,
        HostStatus.UNREACHABLE: C.FAILED,
        HostStatus.CANCELLED: C.CANCELLED,
        HostStatus.SKIPPED: C.SKIPPED,
    }


def test_a_run_is_what_its_commands_are():
    assert run_status([C.SUCCESSFUL, C.SUPERSEDED, C.SKIPPED]) is RunStatus.SUCCESSFUL
    assert run_status([C.SUCCESSFUL, C.EXPIRED]) is RunStatus.FAILED
    assert run_status([C.SUCCESSFUL, C.CANCELLED]) is RunStatus.FAILED
    assert run_status([C.FAILED], cancelled=True) is RunStatus.CANCELLED
    assert run_status([], failed=True) is RunStatus.FAILED
    with pytest.raises(IllegalTransition):
        run_status([C.RUNNING])


def test_exit_codes_do_not_overlap():
    assert exit_code(RunStatus.SUCCESSFUL, failed=0, unreachable=0) is ExitCode.OK
    assert exit_code(RunStatus.FAILED, failed=1, unreachable=1) is ExitCode.FAILED
    assert exit_code(RunStatus.FAILED, failed=0, unreachable=2) is ExitCode.UNREACHABLE
    assert exit_code(RunStatus.CANCELLED, failed=1, unreachable=0) is ExitCode.INTERRUPTED


@given(st.lists(st.sampled_from([status for status in C if status.final])))
def test_successful_means_that_nothing_went_wrong(statuses):
    good = run_status(statuses) is RunStatus.SUCCESSFUL
    assert good == (not {C.FAILED, C.EXPIRED, C.CANCELLED} & set(statuses))
