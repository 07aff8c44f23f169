"""Tables: columns side by side, the ones that can be long are cut to the terminal's width, never wrapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsflow.cli.text import cut, one_line, width

GAP = "  "
NARROWEST = 6
"""No column is cut below this."""


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    columns: int | None = None,
    right: Sequence[str] = (),
    styles: Mapping[str, str] | None = None,
) -> list[str]:
    """The lines of a table.

    Args:
        headings: one for each column.
        rows: their cells; control characters are removed.
        columns: width of the terminal; None does not cut.
        right: headings of the columns that are aligned to the right.
        styles: cell text -> the same text in colour.
    """
    cells = [[one_line("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(width(row[index]) for row in [list(headings), *cells]) for index in range(len(headings))]
    if columns is not None:
        widths = _fit(widths, columns)
    aligned = [heading in right for heading in headings]
    lines = [_line(headings, widths, aligned, {})]
    return lines + [_line(row, widths, aligned, styles or {}) for row in cells]


def _fit(widths: Sequence[int], columns: int) -> list[int]:
    """Take space from the widest column until the line fits (or nothing can be taken any more)."""
    fitted = list(widths)
    spare = columns - len(GAP) * (len(widths) - 1)
    while sum(fitted) > spare and max(fitted) > NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], styles: Mapping[str, str]) -> str:
    parts = []
    for cell, size, to_right in zip(cells, widths, right, strict=True):
        shown = cut(cell, size)
        space = " " * (size - width(shown))
        shown = styles.get(cell, shown) if shown == cell else shown
        parts.append(space + shown if to_right else shown + space)
    return GAP.join(parts).rstrip()
