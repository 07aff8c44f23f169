"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.figures import Figures, Series
from bench.peers.base import Phase

HEADINGS = (
    "run", "tool", "wall s", "÷ opsflow", "÷ opsflow warm", "CPU s", "CPU ms/host", "MiB", "round trips", "turns",
)  # fmt: skip


def tables(series: Iterable[Series]) -> str:
    """A table for each series, with what went wrong under it."""
    return "\n\n".join(f"### {one.title}\n\n{table(one)}" for one in series)


def table(series: Series) -> str:
    rows = [row(series, figures) for phase in Phase for figures in series.figures if figures.phase == phase]
    left_out = [f"{figures.title} was left out: {figures.problem}." for figures in series.figures if not figures.phase]
    return "\n".join([markdown(HEADINGS, rows), *(f"\n{line}" for line in left_out)])


def row(series: Series, figures: Figures) -> Sequence[str]:
    if figures.problem or not figures.costs:
        return [figures.phase, figures.title, f"no figures: {first_line(figures.problem)}", *[""] * (len(HEADINGS) - 3)]
    walls = [cost.wall for cost in figures.costs]
    spread = f" ({min(walls):.2f}–{max(walls):.2f})" if len(walls) > 1 else ""
    return [
        figures.phase,
        figures.title,
        f"{figures.wall:.2f}{spread}",
        number(series.ratio(figures.phase, figures.peer, "opsflow"), 2),
        number(series.ratio(figures.phase, figures.peer, "opsflow-warm"), 2),
        f"{figures.cpu:.2f}",
        f"{figures.cpu / series.hosts * 1000:.1f}",
        number(figures.memory or None, 0),
        number(figures.round_trips, 1),
        number(figures.turns, 1),
    ]


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return (lines[-1] if lines else "no round was run").replace("|", "\\|")[:160]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up on a terminal."""
    cells = [headings, *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
