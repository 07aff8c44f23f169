"""Nothing from a host or a file can move the cursor, and nothing is wider than it should be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.cli.table import table
from opsflow.cli.text import clean, cut, duration, from_here, moment, one_line, width

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1bP1;2qdata\x1b\\after", "after"),
        ("a\x08b\x07", "a\\x08b\\x07"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
        ("line\r\nnext", "line\nnext"),
        ("Zürich 東京", "Zürich 東京"),
    ],
)
def test_terminal_escapes_are_removed_and_other_controls_become_visible(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


@given(ANY_TEXT)
def test_no_control_character_survives(text: str) -> None:
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in clean(text) if char not in "\t\n")
    assert "\n" not in one_line(text)


@given(ANY_TEXT, st.integers(0, 40))
def test_a_cut_text_is_never_wider_than_asked(text: str, columns: int) -> None:
    line = one_line(text)
    assert width(cut(line, columns)) <= max(columns, 0)
    if width(line) <= columns:
        assert cut(line, columns) == line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (0.04, "0.0 s"), (1.25, "1.2 s"), (9.96, "10 s"), (61, "1 min 01 s"), (7805, "2 h 10 min")],
)
def test_durations_are_written_for_people(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_times_are_in_utc() -> None:
    assert moment(datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)) == "2026-03-01 04:05:06"
    assert moment(None) == ""


def test_a_table_fits_the_terminal_and_cuts_the_widest_column() -> None:
    rows = [("app1", "online", "x" * 200), ("a-very-long-instance-name-for-a-host", "setup_failed", "short")]
    lines = table(("INSTANCE", "STATUS", "NOTE"), rows, columns=60)
    assert all(width(line) <= 60 for line in lines)
    assert "setup_failed" in lines[2]
    assert "…" in lines[1]


def test_a_table_that_is_not_for_a_terminal_is_not_cut() -> None:
    assert "x" * 200 in table(("A",), [("x" * 200,)])[1]


def test_a_table_aligns_wide_characters_and_right_columns() -> None:
    lines = table(("NAME", "N"), [("東京", 7), ("ab", 12)], right=("N",))
    assert lines == ["NAME   N", "東京   7", "ab    12"]


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=5), st.integers(20, 100))
def test_no_row_is_ever_wider_than_the_terminal(rows: list[tuple[str, str]], columns: int) -> None:
    assert all(width(line) <= columns for line in table(("FIRST", "SECOND"), rows, columns=columns))


def test_paths_below_the_working_directory_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"{tmp_path}/stacks/shop.yml:3:1 and /other{tmp_path}/x and {tmp_path}-2/y"
    assert from_here(text) == f"stacks/shop.yml:3:1 and /other{tmp_path}/x and {tmp_path}-2/y"
    monkeypatch.chdir("/")
    assert from_here("/etc/hosts") == "/etc/hosts"
