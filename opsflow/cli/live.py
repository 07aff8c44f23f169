"""The live view on a terminal: a line a host with what it does and for how long, below the lines that stay."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from opsflow.cli.text import cut, duration, width

if TYPE_CHECKING:
    from opsflow.cli.progress import Activities
    from opsflow.cli.terminal import Terminal


class LiveView:
    """Redraws itself a few times a second while it is open."""

    def __init__(self, terminal: Terminal, activities: Activities) -> None:
        self._activities = activities
        self._color = terminal.color_err
        console = Console(
            file=terminal.error_stream, no_color=not self._color, highlight=False, markup=False, emoji=False
        )
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=8, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def write(self, line: str) -> None:
        """Print a line above the view."""
        self._live.console.print(Text.from_ansi(line), soft_wrap=True)

    def _render(self) -> Text:
        size = shutil.get_terminal_size()
        return Text("\n".join(rows(self._activities.snapshot(), size.columns, max(1, size.lines - 2))), no_wrap=True)


def rows(activities: list[tuple[str, str, float]], columns: int, most: int) -> list[str]:
    """The lines of the view: what does not fit is counted in the last one."""
    shown = activities if len(activities) <= most else activities[: most - 1]
    longest = min(max((width(name) for name, _, _ in shown), default=0), columns // 3)
    lines = []
    for name, what, seconds in shown:
        took = duration(seconds)
        left = columns - longest - width(took) - 7
        name, what = cut(name, longest), cut(what, max(left, 0))
        space = " " * max(0, left - width(what))
        lines.append(f"[{name}]{' ' * (longest - width(name))} {what}{space}   {took}")
    if len(shown) < len(activities):
        lines.append(f"... and {len(activities) - len(shown)} more")
    return lines
