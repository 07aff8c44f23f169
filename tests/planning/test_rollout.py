import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.errors import UsageError
from opsflow.planning.rollout import batch_size, batches, check_percent, fail_limit_exceeded


def test_batches_by_number_percentage_or_all():
    names = tuple("abcde")
    assert batches(names, 2) == (("a", "b"), ("c", "d"), ("e",))
    assert batches(names, "2") == batches(names, 2)
    assert batches(names, "40%") == (("a", "b"), ("c", "d"), ("e",))
    assert batches(names, "1%") == (("a",), ("b",), ("c",), ("d",), ("e",))
    assert batches(names, None) == (names,)
    assert batches((), None) == ()


@pytest.mark.parametrize("serial", [0, "0", "0%", "101%", "-1", "x", "1.5", True, ""])
def test_what_is_no_batch_size_is_refused(serial):
    with pytest.raises(UsageError):
        batch_size(serial, 10)


def test_the_limit_is_exceeded_not_equalled():
    assert not fail_limit_exceeded(1, 4, 25)
    assert fail_limit_exceeded(2, 4, 25)
    assert fail_limit_exceeded(1, 4, 0)
    assert not fail_limit_exceeded(0, 4, 0)
    assert not fail_limit_exceeded(4, 4, 100)
    assert not fail_limit_exceeded(4, 4, None)


def test_a_percentage_is_between_0_and_100():
    check_percent(None)
    check_percent(0)
    with pytest.raises(UsageError):
        check_percent(101)


@given(
    st.lists(st.text(), max_size=30), st.one_of(st.none(), st.integers(1, 40), st.integers(1, 100).map("{}%".format))
)
def test_batches_lose_nothing_and_keep_the_order(names, serial):
    found = batches(names, serial)
    assert [name for batch in found for name in batch] == names
    assert all(len(batch) <= batch_size(serial, len(names)) for batch in found)
