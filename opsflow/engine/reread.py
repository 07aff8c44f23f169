"""Reading facts to know them: many files with one process, everything else one by one."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from opsflow.engine import file_texts, tame
from opsflow.engine.batch import SAFE, line_of
from opsflow.engine.messages import FactAnswer

MOST = 100
"""Files of one process; the frame with their numbers must not become too long."""


def text(facts: Sequence[tuple[int, str]], *, hold: bool = True) -> list[str]:
    """Lines of shell text that read facts, given by number and key: ``f NUMBER CODE``, or ``F CODE NUMBER ...``.

    Without ``hold`` the shell need not keep what it has read, to compare with it later: also ``w NUMBER CODE``.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    lines = []
    for number, key in facts:
        found = file_texts.shape(key)
        if found is not None and SAFE.fullmatch(found[1]):
            groups.setdefault(found[0], []).append((number, found[1]))
        else:
            lines.append(f"_g {number}" if hold or not tame.reads(key) else f"_w {number}")
    for family, members in groups.items():
        for start in range(0, len(members), MOST):
            part = members[start : start + MOST]
            words = " ".join(f"{number} {shlex.quote(path)}" for number, path in part)
            lines.append(f"_q {shlex.quote(_program(family))} {words}" if len(part) > 1 else f"_g {part[0][0]}")
    return lines


def _program(family: str) -> str:
    """The program for files that exist; it prints a line for each."""
    return f"stat -c '{file_texts.STAT}'" if family == "stat" else file_texts.DIGESTS[family][0]


def answers(keys: Sequence[str], code: int, printed: str) -> dict[str, FactAnswer]:
    """What each fact would have printed; empty where that is not certain."""
    lines = printed.splitlines(keepends=True)
    if code != 0 or len(lines) != len(keys):
        return {}
    found = {}
    for key, line in zip(keys, lines, strict=True):
        shape = file_texts.shape(key)
        if shape is None or line_of(*shape, line) is None:
            return {}
        found[key] = FactAnswer(exit_code=0, stdout=line)
    return found
