"""Host ranges: ``web[01:20]`` are twenty hosts, ``db[a:c]`` three, ``n[0:8:2]`` every second one."""

from __future__ import annotations

import re
from collections.abc import Iterator

RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")
LIMIT = 10_000


def expand(pattern: str) -> list[str]:
    """Every host that the pattern means, in order.

    Raises:
        ValueError: the range is not one.
    """
    names = []
    for name in _expand(pattern):
        names.append(name)
        if len(names) > LIMIT:
            raise ValueError(f"'{pattern}' means more than {LIMIT} hosts")
    return names


def _expand(pattern: str) -> Iterator[str]:
    found = RANGE.search(pattern)
    if not found:
        # An IPv6 address may stand in brackets; anything else in them is a range that went wrong.
        if "[" in pattern and not re.match(r"\[[0-9A-Fa-f:.]+\](:\d+)?$", pattern):
            raise ValueError(f"'{pattern}' has a range that is not one; write [01:20], [a:f] or [0:10:2]")
        yield pattern
        return
    head, tail = pattern[: found.start()], pattern[found.end() :]
    for middle in _members(pattern, *found.groups()):
        for rest in _expand(tail) if tail else [""]:
            yield f"{head}{middle}{rest}"


def _members(pattern: str, first: str, last: str, step: str | None) -> Iterator[str]:
    stride = int(step) if step else 1
    if first.isdigit() != last.isdigit() or stride < 1:
        raise ValueError(f"'{pattern}' mixes letters and digits in a range, or has a step of 0")
    start, end = (int(first), int(last)) if first.isdigit() else (ord(first), ord(last))
    if start > end:
        raise ValueError(f"'{pattern}' has a range that runs backwards")
    for value in range(start, end + 1, stride):
        yield str(value).zfill(len(first)) if first.isdigit() else chr(value)
