"""Cron expressions, time zones and schedules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.model.schedule import Schedule, check_cron


@pytest.mark.parametrize(
    "text",
    [
        *("* * * * *", "0 3 * * *", "*/5 * * * *", "0 0 1 1 *", "59 23 31 12 7", "0 0 * * sun", "0 0 * JAN MON-FRI"),
        *("0,30 8-18 * * 1-5", "0 8-18/2 * * *", "5/15 * * * *", "0 0 29 2 *", "0 0 31 1,2 *", "0 0 31 2 mon"),
        *("@hourly", "@daily", "@weekly", "@monthly", "0   3\t*  *  *"),
    ],
)
def test_good(text: str) -> None:
    assert check_cron(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cron has five"),
        ("31 2 *", "has 3 fields"),
        ("* * * * * *", "has 6 fields"),
        ("0 0 0 * * * *", "has 7 fields"),
        ("@reboot", "cron has five"),
        ("60 * * * *", "as minute: use 0 to 59"),
        ("0 24 * * *", "as hour: use 0 to 23"),
        ("0 0 0 * *", "as day of month: use 1 to 31"),
        ("0 0 * 13 *", "as month: use 1 to 12"),
        ("0 0 * * 8", "as day of week: use 0 to 7"),
        ("*/0 * * * *", "step should be"),
        ("*/60 * * * *", "step should be"),
        ("*/-1 * * * *", "not allowed as minute"),
        ("30-10 * * * *", "runs backwards"),
        ("jan * * * *", "as minute"),
        ("0 0 mon * *", "as day of month"),
        ("0 0 * mon *", "as month"),
        ("0 0 * * jan", "as day of week"),
        ("1,, * * * *", "as minute"),
        ("? * * * *", "as minute"),
        ("0 0 L * *", "as day of month"),
        ("1.5 * * * *", "as minute"),
        ("\u00b2 * * * *", "as minute"),
        ("\u0663 * * * *", "as minute"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
    ],
)
def test_bad(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_cron(text)


@given(st.text("0123456789*/-,@ abcdefjmnorstuw\u00b2\u0663", max_size=30))
def test_anything_is_accepted_or_refused_with_a_reason(text: str) -> None:
    try:
        check_cron(text)
    except ValueError as error:
        refused = str(error)
    else:
        refused = "accepted"
    assert "invalid literal" not in refused


def test_a_schedule_fires_an_event_or_recipes() -> None:
    assert Schedule(cron="@daily", event="configure").timezone == "UTC"
    assert Schedule(cron="@daily", recipes=("backup.run",)).recipes == ("backup.run",)
    for wrong in ({}, {"event": "setup", "recipes": ("a.b",)}):
        with pytest.raises(ValueError, match="either event or recipes"):
            Schedule(cron="@daily", **wrong)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "Asia/Kolkata", "America/St_Johns"])
def test_time_zones(zone: str) -> None:
    assert Schedule(cron="@daily", event="setup", timezone=zone).timezone == zone


@pytest.mark.parametrize(
    "zone", ["", "Zurich", "europe/zurich", "CEST", "+02:00", "../UTC", "Europe/Zurich\n", "x" * 5000]
)
def test_unknown_time_zones(zone: str) -> None:
    with pytest.raises(ValueError, match="not a time zone") as caught:
        Schedule(cron="@daily", event="setup", timezone=zone)
    assert len(str(caught.value)) < 1000
