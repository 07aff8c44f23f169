"""Many facts about files with one process: the fast path for "everything is as assumed".

A batch prints what its facts would print one by one. It is built so that it can only print the expected text if each
of them would print its own: what it cannot tell apart is no member. Whatever else it prints, or an exit code other
than 0, says nothing; then the facts are to be read one by one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from opsflow.engine import file_texts
from opsflow.engine.messages import FactAnswer

MOST = 90_000
"""Characters of paths in one command line; the least that a kernel takes is 131072 with the environment."""

END = ".\n"
"""Printed at the end when every program succeeded."""

SAFE = re.compile(r"/[A-Za-z0-9_./@%+,:=~ -]*")
"""Paths that every program prints as they are."""

LINE = re.compile(
    r"(?P<owner>user=[^ \n]+ group=[^ \n]+ mode=[^ \n]+) atime=-?\d+ "
    r"(?P<rest>mtime=-?\d+ ctime=-?\d+ size=(?P<size>\d+) (?P<name>[^\n]+))\n"
)
ESCALATED = re.compile(r"(?P<head>[^\n]+) <<'(?P<mark>_OPSFLOW_[0-9a-f]{12}_)'\n(?P<text>.*)\n(?P=mark)", re.DOTALL)
"""Text for the shell of another user, as render.escalated makes it."""

TIMELESS, DIRECTORY = "stat without times", "stat of a directory without times"
FORMATS = {
    "stat": file_texts.STAT.replace("atime=%X ", ""),
    TIMELESS: file_texts.STAT.replace("atime=%X mtime=%Y ctime=%Z ", ""),
    DIRECTORY: file_texts.STAT.replace("atime=%X mtime=%Y ctime=%Z size=%s ", ""),
}
"""What a batch asks `stat` for."""

QUOTES = (("'", "'"), ("`", "'"), ('"', '"'), ("", ""))
"""What `stat` puts around a name: GNU's, an old GNU's, that of uutils and that of busybox."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One shell text for several facts, and what it prints if all of them are as assumed."""

    command: str
    expected: str
    members: tuple[int, ...]
    """Indexes of the facts that it stands for."""
    tests: str = ""
    """The same without output, where the shell itself can tell: succeeds if all of them are as assumed."""


@dataclass(frozen=True, slots=True)
class _Member:
    index: int
    path: str
    expected: str
    """What it adds to the batch's output; empty: there is no such file."""


def batches(
    facts: Sequence[tuple[str, FactAnswer]], masks: Sequence[str] = (), *, least: int = 2
) -> tuple[list[Batch], list[int]]:
    """Batches for facts by key, each with the answer that is assumed, and the indexes of facts that are in none.

    ``masks`` are those of messages.FactStep: the access time never counts, with `times` no time does, nor the size of
    a directory. Fewer than ``least`` are no batch.
    """
    groups: dict[tuple[str, str], list[_Member]] = {}
    for index, (key, answer) in enumerate(facts):
        head, text = _opened(key)
        found = file_texts.shape(text)
        if found is None:
            continue
        family, path = found
        if family == "stat" and masks and masks[index] == "times":
            family = DIRECTORY if " mode=d" in answer.stdout else TIMELESS
        expected = _expected(family, path, answer)
        if expected is not None:
            groups.setdefault((head, family), []).append(_Member(index, path, expected))
    made = [
        _batch(head, family, part)
        for (head, family), members in groups.items()
        for part in _parts(members)
        if len(part) >= least
    ]
    taken = {index for batch in made for index in batch.members}
    return made, [index for index in range(len(facts)) if index not in taken]


def _opened(key: str) -> tuple[str, str]:
    """How the shell of another user is opened, if it is, and the text for it."""
    match = ESCALATED.fullmatch(key)
    return (match["head"], match["text"]) if match else ("", key)


def _expected(family: str, path: str, answer: FactAnswer) -> str | None:
    """What the fact adds to a batch; None when a batch could not tell it from something else."""
    if answer.exit_code != 0 or not SAFE.fullmatch(path):
        return None
    if not answer.stdout:
        return ""
    return line_of(family, path, answer.stdout)


def line_of(family: str, path: str, printed: str) -> str | None:
    """The line that a batch prints for a file that exists; None when it could be about another one."""
    return _line(family, path, printed) if family in FORMATS else _digest(family, path, printed)


def _digest(family: str, path: str, printed: str) -> str | None:
    size = hashlib.new(family, usedforsecurity=False).digest_size * 2
    return printed if re.fullmatch(f"[0-9a-f]{{{size}}}  {re.escape(path)}\n", printed) else None


def _line(family: str, path: str, printed: str) -> str | None:
    """The line of `stat` without what does not count, provided that it cannot be another file's."""
    match = LINE.fullmatch(printed)
    if match is None:
        return None
    named = any(_names(match["name"], f"{opened}{path}{closed}", int(match["size"])) for opened, closed in QUOTES)
    if not named:
        return None
    rest = {TIMELESS: f"size={match['size']} {match['name']}", DIRECTORY: match["name"]}.get(family, match["rest"])
    return f"{match['owner']} {rest}\n"


def _names(printed: str, name: str, size: int) -> bool:
    """Whether it is this name, or a link of this name with a target as long as the link's size.

    Busybox prints targets as they are. One that goes on with a forged line of the next file would be longer.
    """
    if printed == name:
        return True
    target = printed.removeprefix(f"{name} -> ")
    closed = next((end for start, end in QUOTES if start and name.startswith(start)), "")
    return target != printed and len(target.encode(errors="surrogateescape")) == size + 2 * len(closed)


def _parts(members: list[_Member]) -> list[list[_Member]]:
    """Cut where a command line would become too long."""
    parts: list[list[_Member]] = [[]]
    size = 0
    for member in members:
        size += len(member.path) + 3
        if size > MOST:
            parts.append([])
            size = 0
        parts[-1].append(member)
    return parts


def _batch(head: str, family: str, members: list[_Member]) -> Batch:
    there = [member.path for member in members if member.expected]
    missing = [member.path for member in members if not member.expected]
    steps = [*_none_of(family, missing), *_all_of(family, there), "echo ."]
    expected = "".join(member.expected for member in members) + END
    tests = "" if head or there else " && ".join(steps[:-1])
    return Batch(_for(head, " && ".join(steps)), expected, tuple(member.index for member in members), tests)


def _none_of(family: str, paths: list[str]) -> list[str]:
    """The very tests with which the facts find out that there is nothing to print."""
    tests = "test -e {0} || test -L {0}" if family in FORMATS else "test -e {0}"
    return [f"! {{ {tests.format(shlex.quote(path))}; }}" for path in paths]


def _all_of(family: str, paths: list[str]) -> list[str]:
    if not paths:
        return []
    words = " ".join(shlex.quote(path) for path in paths)
    if family in FORMATS:
        return [f"stat -c '{FORMATS[family]}' {words} 2> /dev/null"]
    return [f"{file_texts.DIGESTS[family][0]} {words} 2> /dev/null"]


def _for(head: str, text: str) -> str:
    if not head:
        return text
    mark = f"_OPSFLOW_{hashlib.sha256(text.encode()).hexdigest()[:12]}_"
    return f"{head} <<'{mark}'\n{text}\n{mark}"
