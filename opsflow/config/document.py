"""A YAML file as plain data that still knows where every key and value was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsflow.config.hiding import Span, hide
from opsflow.errors import Problem

DataPath = tuple[str | int, ...]
"""Keys and list indexes from the top of the document, such as ``("layers", "app", "recipes", 0)``."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in the file, both numbers 1-based."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry was written: its key (for a list item, its value) and its value."""

    key: Mark
    value: Mark


@dataclass(frozen=True, slots=True)
class Document:
    """The content of one file.

    Attributes:
        file: the path as the user wrote it.
        lines: the text, line by line.
        data: mappings, lists, strings, numbers, booleans and None.
        marks: the place of every entry, by its path; the root is ``()``.
        secrets: stretches of the text that no message may show; None when they are not known.
    """

    file: str
    lines: Sequence[str]
    data: Any = None
    marks: Mapping[DataPath, Place] = field(default_factory=dict)
    secrets: Sequence[Span] | None = ()
    _shown: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def nearest(self, path: DataPath) -> DataPath:
        """The longest path of the document that ``path`` leads to, without steps that are not written."""
        found: DataPath = ()
        for step in path:
            if (*found, step) in self.marks:
                found = (*found, step)
        return found

    def problem(self, path: DataPath, message: str, *, hint: str | None = None, on_key: bool = False) -> Problem:
        """What is wrong at ``path``, with its position and line."""
        place = self.marks.get(self.nearest(path), Place(Mark(1, 1), Mark(1, 1)))
        return self.problem_at(place.key if on_key else place.value, message, hint=hint, path=path)

    def problem_at(self, mark: Mark, message: str, *, hint: str | None = None, path: DataPath = ()) -> Problem:
        """What is wrong at a position."""
        return Problem(
            file=self.file,
            message=_printable(message, 400),
            line=mark.line,
            column=mark.column,
            path=path_text(path),
            hint=hint and _printable(hint, 1000),
            snippet=self._snippet(mark.line),
        )

    def _snippet(self, line: int) -> str | None:
        if not 0 < line <= len(self.lines) or not self.lines[line - 1].strip():
            return None
        if line not in self._shown:
            self._shown[line] = hide(self.lines, line, self.secrets)
        return self._shown[line]


def path_text(path: DataPath) -> str:
    """``layers/app/recipes/0``."""
    return "/".join(_printable(str(step), 80) for step in path)


def _printable(text: str, longest: int) -> str:
    """Without what could move the cursor or flood the screen: the text may quote the file."""
    text = text if len(text) <= longest else text[:longest] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
