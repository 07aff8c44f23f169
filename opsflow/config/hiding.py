"""Which parts of a stack file are secret, and how a line of it is shown without them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from opsflow.model.secrecy import is_secret_name

_NAMING = ("layers", "instances", "apps", "schedules")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_ENTRY = re.compile(r"""^(?P<indent>\s*)(?:-\s+)?["']?(?P<key>[^\s"':#{\[][^"':{\[]*)["']?\s*:(?=\s|$)""")
_INLINE = re.compile(r"""(?P<key>[\w.-]+)["']?\s*:\s*(?P<value>"[^"]*"?|'[^']*'?|[^\s,}\]{\[][^,}\]]*)""")
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{40,}")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text: 1-based lines, 1-based columns, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


def hides(key: str) -> bool:
    """Whether what stands under such a key is never shown."""
    return key.strip() == "environment" or is_secret_name(key)


def is_secret(path: Sequence[str | int]) -> bool:
    """Whether the value at ``path`` may be a secret, judged by its keys (names of layers, apps ... aside)."""
    steps = [str(step) for step in path]
    if steps[:1] == ["layers"] and steps[2:3] == ["instances"]:
        del steps[3:4]
    if steps[:1] and steps[0] in _NAMING:
        del steps[1:2]
    return any(hides(step) for step in steps)


def hide(lines: Sequence[str], number: int, spans: Sequence[Span] | None) -> str:
    """Line ``number`` (1-based) without secrets; columns outside of them stay where they are.

    Args:
        lines: the file.
        number: which line.
        spans: where the secrets are; None when the file could not be read that far: then names and indentation decide.
    """
    line = lines[number - 1]
    line = _by_text(lines, number) if spans is None else _by_spans(line, number, spans)
    return _URL_LOGIN.sub(lambda found: "*" * (len(found[0]) - 1) + "@", line)


def _by_spans(line: str, number: int, spans: Sequence[Span]) -> str:
    for span in spans:
        if span.line <= number <= span.end_line:
            start = span.column - 1 if number == span.line else 0
            end = span.end_column - 1 if number == span.end_line else len(line)
            line = line[:start] + "*" * len(line[start:end]) + line[end:]
    return line


def _by_text(lines: Sequence[str], number: int) -> str:
    line = lines[number - 1]
    entry = _ENTRY.match(line)
    above = [key for key in _keys_above(lines, number) if hides(key)]
    if above:
        named = entry is not None and not any(is_secret_name(key) for key in above)
        start = entry.end() if entry and named else len(line) - len(line.lstrip())
        return line[:start] + "*" * len(line[start:])
    if entry and hides(entry["key"]):
        return line[: entry.end()] + "*" * len(line[entry.end() :])
    line = _INLINE.sub(lambda found: _mask_value(found) if hides(found["key"]) else found[0], line)
    return _ENCODED.sub(lambda found: "*" * len(found[0]), line)


def _mask_value(found: re.Match[str]) -> str:
    return found[0][: found.start("value") - found.start()] + "*" * len(found["value"])


def _keys_above(lines: Sequence[str], number: int) -> list[str]:
    """The keys that enclose a line, as far as its indentation tells."""
    keys: list[str] = []
    line = lines[number - 1]
    depth = len(line) - len(line.lstrip())
    for above in reversed(lines[: number - 1]):
        indent = len(above) - len(above.lstrip())
        if not above.strip() or indent >= depth:
            continue
        entry = _ENTRY.match(above)
        if entry:
            keys.append(entry["key"])
            depth = indent
        if indent == 0:
            break
    return keys
