import pytest

from opsflow.errors import UsageError
from opsflow.lifecycle.reach import ONLINE, Candidate, Targets, select, statuses_for
from opsflow.model.command import CommandType
from opsflow.model.state import InstanceStatus as S

EVERYONE = (
    Candidate("lb1", ("lb",), S.ONLINE),
    Candidate("app1", ("app",), S.ONLINE),
    Candidate("app2", ("app",), S.STOPPED),
    Candidate("both", ("lb", "app"), S.ONLINE),
)


def reached(candidates=EVERYONE, statuses=ONLINE, **targets):
    return select(candidates, Targets(**targets), statuses, layers=("lb", "app"), doing="configured")


def test_by_default_every_online_instance():
    assert reached() == ("lb1", "app1", "both")


def test_by_layer_offline_ones_are_skipped():
    assert reached(layers=("app",)) == ("app1", "both")


def test_by_pattern_offline_ones_are_skipped():
    assert reached(only=("app*",)) == ("app1",)


def test_a_named_offline_one_is_refused():
    with pytest.raises(UsageError, match='app2 cannot be configured in status "stopped"'):
        reached(only=("app1", "app2"))


def test_layer_and_pattern_narrow_one_another_and_exclude_wins():
    assert reached(layers=("lb",), exclude=("lb*",)) == ("both",)


def test_nobody_is_an_error_that_says_why():
    with pytest.raises(UsageError, match="app2 is stopped"):
        reached(only=("app2*",))
    with pytest.raises(UsageError, match="no instance is selected"):
        reached(only=("z*",))


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(UsageError) as caught:
        reached(only=("app3",))
    assert "app" in caught.value.hint
    with pytest.raises(UsageError, match="no layer 'apps'"):
        reached(layers=("apps",))


def test_setup_also_reaches_instances_whose_setup_failed():
    assert statuses_for(CommandType.SETUP) == {S.ONLINE, S.SETUP_FAILED}
    assert statuses_for(CommandType.CONFIGURE) == {S.ONLINE}
