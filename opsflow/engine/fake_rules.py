"""What the fake engine can be told: which recipes on which instances end how."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase


class Ending(StrEnum):
    """How a recipe can be told to end."""

    FAIL = "fail"
    HANG = "hang"
    OVERRUN = "overrun"
    UNREACHABLE = "unreachable"
    HOLD = "hold"


@dataclass
class Gate:
    """A recipe that waits in the middle until the test lets it go on."""

    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Rule:
    """What happens to the recipes of some instances; patterns as in :mod:`fnmatch`."""

    instance: str
    recipe: str
    ending: Ending
    text: str
    times: int | None
    gate: Gate = field(default_factory=Gate)

    def fits(self, instance: str, recipe: str) -> bool:
        """Whether it is meant, and not used up."""
        return self.times != 0 and fnmatchcase(instance, self.instance) and fnmatchcase(recipe, self.recipe)


def use(rules: Sequence[Rule], names: Iterable[str], recipe: str) -> Rule | None:
    """The newest rule that fits one of the names; a limited one is used up by this."""
    rule = next((rule for rule in reversed(rules) if any(rule.fits(name, recipe) for name in names)), None)
    if rule and rule.times is not None:
        rule.times -= 1
    return rule
