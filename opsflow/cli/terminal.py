"""Where the program prints: data to stdout, everything else to stderr. Only a terminal gets colours."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from opsflow.cli import table as tables
from opsflow.cli.formats import Format
from opsflow.cli.streams import is_lost
from opsflow.cli.text import clean, from_here

_STYLES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}

STATUS_STYLES = {
    **dict.fromkeys(("online", "ok", "successful", "changed", "deployed"), "green"),
    **dict.fromkeys(
        ("failed", "fail", "setup_failed", "start_failed", "stop_failed", "connection_lost", "unreachable", "expired",
         "timeout", "interrupted"),
        "red",
    ),
    **dict.fromkeys(
        ("running", "pending", "requested", "booting", "running_setup", "rebooting", "stopping", "shutting_down",
         "terminating", "warn", "would_change", "maybe", "ignored", "cancelled"),
        "yellow",
    ),
    **dict.fromkeys(("stopped", "terminated", "skipped", "superseded", "not created", "unchanged", "not_run"), "dim"),
}  # fmt: skip


class Terminal:
    """The two streams of the process. Lines from several threads do not mix."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, *, color: bool = True) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._lock = threading.Lock()
        wanted = color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.color_out = wanted and self._out.isatty()
        self.color_err = wanted and self._err.isatty()

    # ------------------------------------------------------------------------------------------- what it is

    @property
    def interactive(self) -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin is not None and sys.stdin.isatty() and self._err.isatty()

    @property
    def moving(self) -> bool:
        """Whether lines on stderr may be redrawn."""
        return self._err.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def showing_data(self) -> bool:
        """Whether stdout is seen on the same screen as stderr."""
        return self._out.isatty()

    @property
    def out_columns(self) -> int | None:
        """Width of stdout; None when it is not a terminal, then nothing is cut."""
        return shutil.get_terminal_size().columns if self._out.isatty() else None

    @property
    def err_columns(self) -> int | None:
        """Width of stderr; None when it is not a terminal."""
        return shutil.get_terminal_size().columns if self._err.isatty() else None

    @property
    def closed(self) -> bool:
        """Whether nothing that is printed on stdout arrives any more."""
        return is_lost(self._out)

    @property
    def error_stream(self) -> TextIO:
        """The stream behind :meth:`note`."""
        return self._err

    # ------------------------------------------------------------------------------------------- printing

    def data(self, text: str) -> None:
        """Print lines of data on stdout."""
        self._write(self._out, text + "\n")

    def note(self, text: str = "") -> None:
        """Print lines for people on stderr."""
        self._write(self._err, text + "\n")

    def ask(self, question: str) -> str:
        """Ask on stderr and read one line; empty at the end of input."""
        self._write(self._err, question)
        return sys.stdin.readline().strip()

    def screen(self, lines: Sequence[str]) -> None:
        """Show lines instead of the last ones on a terminal, below them elsewhere."""
        start = "\x1b[2J\x1b[H" if self._out.isatty() and os.environ.get("TERM") != "dumb" else ""
        self.data(start + "\n".join(lines) + ("" if start else "\n"))

    def emit(self, value: Any, how: Format, lines: Sequence[str] = ()) -> None:
        """Print ``value`` as JSON or YAML, or else the ``lines`` that show it."""
        if how is Format.JSON:
            self.data(as_json(value, indent=2))
        elif how is Format.YAML:
            self.data(as_yaml(value).rstrip("\n"))
        elif lines:
            self.data("\n".join(lines))

    def emit_line(self, value: Any) -> None:
        """Print ``value`` as JSON on one line."""
        self.data(as_json(value))

    def table(
        self, headings: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = (), indent: int = 0
    ) -> list[str]:
        """The lines of a table for stdout."""
        columns = None if self.out_columns is None else self.out_columns - indent
        styles = self._status_styles(self.color_out)
        lines = tables.table(headings, rows, columns=columns, right=right, styles=styles)
        return [" " * indent + line for line in lines]

    def recap(self, headings: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> list[str]:
        """The lines of a table for stderr."""
        styles = self._status_styles(self.color_err)
        return tables.table(headings, rows, columns=self.err_columns, right=right, styles=styles)

    def paint(self, text: str, style: str, *, data: bool = False) -> str:
        """``text`` in a colour, where colours are on (``data``: for stdout)."""
        on = self.color_out if data else self.color_err
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if on and style else text

    def _status_styles(self, color: bool) -> Mapping[str, str]:
        if not color:
            return {}
        return {word: f"\x1b[{_STYLES[style]}m{word}\x1b[0m" for word, style in STATUS_STYLES.items()}

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            stream.write(text)
            stream.flush()


def as_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII, so that no name can carry a terminal escape."""
    import json

    return json.dumps(value, indent=indent, default=str)


def as_yaml(value: Any) -> str:
    """YAML in ASCII."""
    import json

    import yaml

    plain = json.loads(json.dumps(value, default=str))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=False, width=120)
    return text


def block(text: str) -> str:
    """A text of several lines, cleaned, with files as they are written from here."""
    return "\n".join(from_here(clean(line)) for line in text.splitlines())
