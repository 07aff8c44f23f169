"""What is on the screen of a terminal: colours, widths and questions."""

from __future__ import annotations

import io
import re
import sys

import pytest
from cli_world import Program

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tty(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("NO_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Screen(monkeypatch)


class Screen:
    """Runs the program as if it were on a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def run(self, program: Program, *argv: str, typed: str = "", columns: int = 80) -> tuple[int, str]:
        """The exit code, and everything that was written."""
        out = Tty()
        with self._patch.context() as patch:
            patch.setenv("COLUMNS", str(columns))
            patch.setattr(sys, "stdin", Tty(typed))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", out)
            code = program(*argv).code
        return code, out.getvalue()


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(columns: int, shop: Program, screen: Screen) -> None:
    long = "a-rather-long-name-for-an-instance-of-this-stack-number-two"
    file = shop.root / "stacks" / "shop.yml"
    file.write_text(file.read_text().replace("app2:", f"{long}:"))
    assert shop("up", "shop", "-y").code == 0
    shop.engine.fail(long, "web.restart", error="x" * 300)
    code, text = screen.run(shop, "run", "shop", "web.restart", columns=columns)
    assert code == 1
    recap = ANSI.sub("", text[text.index("INSTANCE") :]).split("\n\n")[0].splitlines()
    assert len(recap) == 4
    for argv in (("status", "shop"), ("runs", "list")):
        code, text = screen.run(shop, *argv, columns=columns)
        assert code == 0
        recap += ANSI.sub("", text).splitlines()
    assert [line for line in recap if len(line) > columns] == []
    assert any("…" in line for line in recap)


def test_a_terminal_has_colors_unless_they_are_turned_off(
    shop: Program, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[32monline\x1b[0m" in screen.run(shop, "status", "shop")[1]
    assert "\x1b" not in screen.run(shop, "status", "shop", "--no-color")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in screen.run(shop, "status", "shop")[1]


def test_a_plan_is_colored_like_terraform_s(opsflow: Program, screen: Screen) -> None:
    text = screen.run(opsflow, "plan", "shop")[1]
    assert "\x1b[32m  + create app1" in text
    assert "\x1b[33m  ~ configure" in text


def test_a_dumb_terminal_gets_plain_lines(opsflow: Program, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    code, text = screen.run(opsflow, "up", "shop", "-y", "-vv")
    assert code == 0
    assert "\x1b" not in text
    assert "[app1] 1/1 web.setup ..." in text


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "maybe\n"])
def test_up_that_is_not_agreed_to_does_nothing(typed: str, opsflow: Program, screen: Screen) -> None:
    code, text = screen.run(opsflow, "up", "shop", typed=typed)
    assert code == 0
    assert "Nothing was done." in text
    assert opsflow("runs", "list", "--json").json == []


@pytest.mark.parametrize(("typed", "expected", "left"), [("yes\n", 1, 3), ("", 1, 3), ("shop\n", 0, 0)])
def test_destroy_wants_the_stack_s_name(typed: str, expected: int, left: int, shop: Program, screen: Screen) -> None:
    code, text = screen.run(shop, "destroy", "shop", typed=typed)
    assert code == expected
    assert "Type the stack's name to destroy it (shop): " in text
    assert len(shop.provider.list("shop")) == left


def test_with_y_nothing_is_asked(shop: Program, screen: Screen) -> None:
    code, text = screen.run(shop, "destroy", "shop", "-y")
    assert code == 0
    assert "Type the stack's name" not in text
