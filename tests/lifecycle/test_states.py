import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.errors import IllegalTransition
from opsflow.lifecycle.states import (
    TRANSITIONS,
    Trigger,
    can,
    can_reboot,
    can_setup,
    can_start,
    can_stop,
    membership_changes,
    transition,
)
from opsflow.model.state import InstanceStatus as S

START = [Trigger.START, Trigger.ACCEPTED, Trigger.MACHINE_STARTS, Trigger.REACHABLE, Trigger.SETUP_SUCCEEDED]


def walk(status, triggers):
    for trigger in triggers:
        status = transition(status, trigger)
    return status


def test_a_start_goes_through_opsworks_statuses():
    seen = [S.STOPPED]
    for trigger in START:
        seen.append(transition(seen[-1], trigger))
    assert seen == [S.STOPPED, S.REQUESTED, S.PENDING, S.BOOTING, S.RUNNING_SETUP, S.ONLINE]


def test_a_stop_goes_through_shutdown():
    assert walk(S.ONLINE, [Trigger.STOP, Trigger.SHUT_DOWN, Trigger.STOPPED]) is S.STOPPED


def test_start_is_allowed_where_decision_d2_says():
    assert {status for status in S if can_start(status)} == {S.STOPPED, S.START_FAILED, S.STOP_FAILED}


def test_stop_is_allowed_in_every_status_that_is_not_final():
    refused = {status for status in S if not can_stop(status)}
    assert refused == {S.STOPPED, S.STOPPING, S.SHUTTING_DOWN, S.TERMINATING, S.TERMINATED}


def test_setup_and_reboot():
    assert {status for status in S if can_setup(status)} == {S.ONLINE, S.SETUP_FAILED}
    assert {status for status in S if can_reboot(status)} == {S.ONLINE}


def test_a_setup_failure_keeps_the_machine_and_can_be_repeated():
    assert walk(S.RUNNING_SETUP, [Trigger.SETUP_FAILED, Trigger.SETUP, Trigger.SETUP_SUCCEEDED]) is S.ONLINE


@pytest.mark.parametrize("status", [S.REQUESTED, S.PENDING, S.BOOTING])
def test_a_machine_that_does_not_start(status):
    assert transition(status, Trigger.START_FAILED) is S.START_FAILED


def test_an_illegal_transition_names_both():
    with pytest.raises(IllegalTransition, match='"reboot" is not possible in status "stopped"'):
        transition(S.STOPPED, Trigger.REBOOT)


def test_the_whole_table_is_pinned():
    assert len(TRANSITIONS) == 43
    assert {before for before, _ in TRANSITIONS} == set(S)
    assert set(TRANSITIONS.values()) == set(S)


def test_every_status_can_be_left_and_leads_back_to_stopped():
    for status in S:
        reached, todo = {status}, [status]
        while todo:
            here = todo.pop()
            for (before, _), after in TRANSITIONS.items():
                if before is here and after not in reached:
                    reached.add(after)
                    todo.append(after)
        assert S.STOPPED in reached
        assert S.ONLINE in reached


@given(st.lists(st.sampled_from(Trigger), max_size=60))
def test_no_sequence_of_inputs_leaves_the_table(triggers):
    status = S.STOPPED
    for trigger in triggers:
        if can(status, trigger):
            after = transition(status, trigger)
            assert (status, trigger) in TRANSITIONS
            assert after in S
            status = after
        else:
            with pytest.raises(IllegalTransition):
                transition(status, trigger)


def test_membership_changes_when_an_instance_enters_or_leaves_online():
    changing = {key for key in TRANSITIONS if membership_changes(*key)}
    assert changing == {
        (S.RUNNING_SETUP, Trigger.SETUP_SUCCEEDED),
        (S.CONNECTION_LOST, Trigger.SEEN),
        (S.ONLINE, Trigger.SETUP),
        (S.ONLINE, Trigger.STOP),
        (S.REBOOTING, Trigger.STOP),
        (S.ONLINE, Trigger.LOST),
        (S.REBOOTING, Trigger.LOST),
        (S.ONLINE, Trigger.MACHINE_ENDED),
        (S.REBOOTING, Trigger.MACHINE_ENDED),
    }
