"""Errors: whose fault, which exit code, and how a problem in a file is shown."""

from __future__ import annotations

import pytest

from opsflow import errors
from opsflow.errors import (
    CannotRestart,
    CapabilityError,
    ConfigError,
    ExitCode,
    HostsUnreachable,
    IllegalTransition,
    LockHeld,
    MissingExtra,
    OpsflowError,
    Problem,
    ProviderError,
    RecipeError,
    RunFailed,
    SourceError,
    StalePlan,
    StoreError,
    UsageError,
)

CODES = {
    UsageError: 64,
    ConfigError: 65,
    RecipeError: 65,
    StalePlan: 65,
    MissingExtra: 64,
    RunFailed: 1,
    HostsUnreachable: 69,
    LockHeld: 75,
    StoreError: 1,
    ProviderError: 1,
    CannotRestart: 1,
    CapabilityError: 1,
    SourceError: 1,
    IllegalTransition: 1,
    OpsflowError: 1,
}


def every_error(root: type[OpsflowError] = OpsflowError) -> set[type[OpsflowError]]:
    below = {one for one in root.__subclasses__() if one.__module__ == errors.__name__}
    return {root}.union(*(every_error(one) for one in below))


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_exit_codes_are_those_of_the_manual(kind: type[OpsflowError], code: int) -> None:
    assert kind.exit_code == code


def test_no_error_is_without_an_exit_code_of_its_own() -> None:
    assert every_error() == set(CODES)


def test_the_tree_in_the_module_is_the_tree() -> None:
    for kind in every_error():
        assert kind.__name__ in (errors.__doc__ or "")


def test_exit_codes_never_overlap() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 64, 65, 69, 75, 130]


def test_a_message_and_a_hint() -> None:
    error = UsageError("there is no stack 'shp'", hint="did you mean 'shop'?")
    assert (str(error), error.message, error.hint) == ("there is no stack 'shp'",) * 2 + ("did you mean 'shop'?",)
    assert UsageError("x").hint is None


def test_a_missing_extra_names_the_command() -> None:
    error = MissingExtra("opsflow serve", "server")
    assert error.hint == "pip install 'opsflow[server]'"
    assert "opsflow serve" in str(error)


class TestProblems:
    def test_in_full(self) -> None:
        problem = Problem("shop.yml", "unknown key", 3, 5, "layers/app", "did you mean 'x'?", "    y: 1")
        assert str(problem) == ("shop.yml:3:5: layers/app: unknown key\n        y: 1\n        ^\n    did you mean 'x'?")

    def test_of_a_whole_file(self) -> None:
        assert str(Problem("shop.yml", "there is no such file")) == "shop.yml: there is no such file"

    def test_all_of_them_are_the_message(self) -> None:
        error = ConfigError([Problem("a.yml", "one", 1), Problem("a.yml", "two", 2)])
        assert str(error) == "a.yml:1: one\na.yml:2: two"
        assert len(error.problems) == 2

    @pytest.mark.parametrize("column", [1, 60, 61, 5000, 9999, 10_000])
    def test_a_long_line_is_cut_around_the_place(self, column: int) -> None:
        line = "." * (column - 1) + "X" + "." * (10_000 - column)
        shown, caret = str(Problem("a.yml", "x", 1, column, snippet=line)).splitlines()[1:3]
        assert len(shown) < 140
        assert shown[caret.index("^")] == "X"

    def test_the_caret_allows_for_wide_and_combining_characters(self) -> None:
        shown, caret = str(Problem("a.yml", "x", 1, 5, snippet="東京e\u0301X")).splitlines()[1:3]
        assert caret == " " * (4 + 2 + 2 + 1) + "^"

    def test_tabs_and_control_characters_take_one_column(self) -> None:
        shown, caret = str(Problem("a.yml", "x", 1, 4, snippet="\t\x1b[X")).splitlines()[1:3]
        assert shown == "      [X"
        assert shown[caret.index("^")] == "X"


def test_the_most_similar_name_is_asked_for() -> None:
    assert errors.closest("app11", ["lb1", "app1"]) == "app1"
    assert errors.did_you_mean("app11", ["lb1", "app1"]) == "did you mean 'app1'?"
    assert errors.did_you_mean("xyz", ["lb1", "app1"]) is None
    assert errors.did_you_mean("xyz", []) is None
