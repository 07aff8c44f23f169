from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from opsflow.model.scaling import parse_hours
from opsflow.planning.hours import next_change, runs_at

OFFICE = parse_hours({"mon-fri": "8-20"})


def at(*parts):
    return datetime(*parts, tzinfo=UTC)


def test_office_hours_in_utc():
    assert runs_at(OFFICE, "UTC", at(2026, 6, 1, 8, 0))
    assert runs_at(OFFICE, "UTC", at(2026, 6, 1, 19, 59))
    assert not runs_at(OFFICE, "UTC", at(2026, 6, 1, 20, 0))
    assert not runs_at(OFFICE, "UTC", at(2026, 6, 6, 12, 0))


def test_hours_follow_the_time_zone_and_its_daylight_saving():
    assert not runs_at(OFFICE, "Europe/Zurich", at(2026, 1, 5, 6, 30))
    assert runs_at(OFFICE, "Europe/Zurich", at(2026, 1, 5, 7, 0))
    assert runs_at(OFFICE, "Europe/Zurich", at(2026, 7, 6, 6, 0))


def test_a_skipped_hour_never_runs_and_a_repeated_one_runs_twice():
    two = parse_hours({"sun": "2"})
    spring, autumn = at(2026, 3, 29, 0, 0), at(2026, 10, 25, 0, 0)
    assert not any(runs_at(two, "Europe/Zurich", spring + timedelta(minutes=m)) for m in range(0, 180, 15))
    assert sum(runs_at(two, "Europe/Zurich", autumn + timedelta(minutes=m)) for m in range(0, 180, 15)) == 8


def test_the_next_change_is_named():
    assert next_change(OFFICE, "UTC", at(2026, 6, 1, 9, 30)) == at(2026, 6, 1, 20)
    assert next_change(OFFICE, "UTC", at(2026, 6, 5, 21, 10)) == at(2026, 6, 8, 8)
    assert next_change(OFFICE, "Asia/Kathmandu", at(2026, 6, 1, 0, 0)) == at(2026, 6, 1, 2, 15)
    assert next_change(parse_hours({"daily": "0-24"}), "UTC", at(2026, 6, 1)) is None


@given(
    st.dictionaries(st.sampled_from(["mon", "wed", "sat,sun"]), st.sampled_from(["0-3", "8", "22-6"]), min_size=1),
    st.integers(0, 3 * 366 * 24 * 60).map(lambda minutes: at(2024, 1, 1) + timedelta(minutes=minutes)),
    st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe"]),
)
def test_nothing_changes_before_the_next_change(hours, now, zone):
    week = parse_hours(hours)
    change = next_change(week, zone, now)
    assert change is not None
    assert change > now
    running = runs_at(week, zone, now)
    assert runs_at(week, zone, change) is not running
    for share in (0.1, 0.5, 0.9):
        assert runs_at(week, zone, now + (change - now) * share) is running
