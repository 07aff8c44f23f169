"""The hours in which time-based instances run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.model.base import Misfit
from opsflow.model.instance import Instance
from opsflow.model.scaling import DAYS, parse_hours


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"mon": "8-20"}, {"mon": set(range(8, 20))}),
        ({"mon": 8}, {"mon": {8}}),
        ({"mon": "8"}, {"mon": {8}}),
        ({"mon": "0-24"}, {"mon": set(range(24))}),
        ({"mon": "22-6"}, {"mon": {22, 23, 0, 1, 2, 3, 4, 5}}),
        ({"mon": "7-9,12"}, {"mon": {7, 8, 12}}),
        ({"mon": [1, "3-5"]}, {"mon": {1, 3, 4}}),
        ({"mon": "08 - 10"}, {"mon": {8, 9}}),
        ({"mon-wed": 1}, {"mon": {1}, "tue": {1}, "wed": {1}}),
        ({"sat-mon": 1}, {"sat": {1}, "sun": {1}, "mon": {1}}),
        ({"Sat, SUN": 1}, {"sat": {1}, "sun": {1}}),
        ({"daily": 1}, {day: {1} for day in DAYS}),
        ({"mon-tue": 1, "tue": 2}, {"mon": {1}, "tue": {1, 2}}),
        ({"mon": []}, {"mon": set()}),
    ],
)
def test_forms(written: dict[str, Any], meant: dict[str, set[int]]) -> None:
    assert parse_hours(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        *({"mon": hours} for hours in (24, 25, -1, "8-8", "8-25", "24-8", "8:30-20", "8.5", "", "a", True, None, 8.5)),
        *({"mon": hours} for hours in ("\u0668", "8-20-22", "8--20", "1e1", {"a": 1})),
        *({day: 1} for day in ("", "monday", "mon-", "-fri", "mon-fri-sun", "weekdays", "m\u043en")),
    ],
)
def test_what_cannot_be_read(written: dict[str, Any]) -> None:
    with pytest.raises(Misfit) as caught:
        parse_hours(written)
    assert caught.value.at == tuple(written)


@pytest.mark.parametrize("written", ["8-20", ["mon"], None, 8])
def test_no_mapping(written: object) -> None:
    with pytest.raises(ValueError, match="write days and hours"):
        parse_hours(written)


@given(st.dictionaries(st.sampled_from(DAYS), st.frozensets(st.integers(0, 23))))
def test_hours_are_read_back_as_they_were(week: dict[str, frozenset[int]]) -> None:
    assert parse_hours(week) == week
    assert parse_hours({day: sorted(hours) for day, hours in week.items()}) == week


def test_a_time_instance_needs_hours() -> None:
    for hours in (None, {}, {"mon": []}):
        with pytest.raises(ValueError, match="needs hours"):
            Instance(runs="time", hours=hours)


def test_others_have_none() -> None:
    with pytest.raises(ValueError, match="runs: time"):
        Instance(hours={"mon": 8})
    with pytest.raises(ValueError, match="runs: time"):
        Instance(runs="load", hours={"mon": 8})
