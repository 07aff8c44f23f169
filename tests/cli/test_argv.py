"""What is kept of a command line."""

from __future__ import annotations

import pytest
from cli_world import Program

from opsflow.cli.argv import given_values, shown

SECRET = "correct-horse-battery"


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (("up", "shop", "-y"), "opsflow up shop -y"),
        (("run", "shop", "setup", "--set", f"a.b={SECRET}"), "opsflow run shop setup --set a.b=..."),
        (("run", "shop", "setup", f"--set=a.b={SECRET}", "-y"), "opsflow run shop setup --set=a.b=... -y"),
        (("run", "shop", "setup", "--set", "a=", "--only", "x y"), "opsflow run shop setup --set a= --only 'x y'"),
        (("run", "--set", "a"), "opsflow run --set a"),
    ],
)
def test_the_values_of_settings_are_left_out(argv: tuple[str, ...], kept: str) -> None:
    assert shown(argv) == kept


def test_values_are_found_in_both_spellings() -> None:
    assert given_values(("--set", "a=1", "--set=b=2=3", "x")) == ["2=3", "1"]


def test_a_value_is_in_no_owner_of_the_lock_and_no_header(shop: Program) -> None:
    answer = shop("run", "shop", "web.restart", "-v", "--set", f"db.password={SECRET}")
    assert answer.code == 0
    assert SECRET not in answer.err
    assert SECRET not in shop("runs", "show", "2", "--json").json["actor"]
