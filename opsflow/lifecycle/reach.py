"""Who an event reaches, and what becomes of targets that are not there (decision D3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from opsflow.errors import UsageError, did_you_mean
from opsflow.lifecycle.states import TRANSITIONS, Trigger
from opsflow.model.command import CommandType
from opsflow.model.state import InstanceStatus


@dataclass(frozen=True, slots=True)
class Targets:
    """Which instances are meant: of these layers, with these names (globs), without those (globs)."""

    layers: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing was selected."""
        return not (self.layers or self.only or self.exclude)

    def describe(self) -> str:
        """In words, for messages."""
        parts = [f"layer {name}" for name in self.layers]
        parts += [f"named {name}" for name in self.only]
        parts += [f"without {name}" for name in self.exclude]
        return ", ".join(parts) or "the whole stack"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance as selection sees it."""

    name: str
    layers: tuple[str, ...]
    status: InstanceStatus
    why: str = ""
    """Why it is in this status, where that helps."""

    @property
    def said(self) -> str:
        """The end of a message that names its status."""
        return f": {self.why}" if self.why else ""


ONLINE = frozenset({InstanceStatus.ONLINE})
_EVENT_STATUSES: Mapping[CommandType, frozenset[InstanceStatus]] = {
    CommandType.SETUP: frozenset(status for status, trigger in TRANSITIONS if trigger is Trigger.SETUP),
}


def statuses_for(command: CommandType) -> frozenset[InstanceStatus]:
    """The statuses in which a command of that type makes sense: online; for setup also setup_failed."""
    return _EVENT_STATUSES.get(command, ONLINE)


def is_glob(name: str) -> bool:
    """Whether ``name`` is a pattern and not one instance's name."""
    return any(char in name for char in "*?[")


def select(
    candidates: Sequence[Candidate],
    targets: Targets,
    statuses: Collection[InstanceStatus],
    *,
    layers: Iterable[str],
    doing: str,
) -> tuple[str, ...]:
    """Names of the instances that are reached, in the order given.

    An instance in another status is refused when it was named, and skipped when its layer, a pattern or nothing
    at all selected it.

    Args:
        candidates: every instance of the stack.
        targets: what was asked for.
        statuses: the statuses in which it makes sense.
        layers: the stack's layers.
        doing: what is done, as a participle for messages, such as "started".

    Raises:
        UsageError: an unknown layer or name, a named instance in a wrong status, or nobody is left.
    """
    _known("layer", targets.layers, tuple(layers))
    names = tuple(candidate.name for candidate in candidates)
    _known("instance", (name for name in targets.only if not is_glob(name)), names)
    chosen = [candidate for candidate in candidates if _matches(candidate, targets)]
    for candidate in chosen:
        if candidate.name in targets.only and candidate.status not in statuses:
            raise UsageError(
                f'Instance: {candidate.name} cannot be {doing} in status "{candidate.status}"{candidate.said}',
                hint=f"possible in: {', '.join(sorted(statuses))}",
            )
    reached = tuple(candidate.name for candidate in chosen if candidate.status in statuses)
    if not reached:
        raise UsageError(_nobody(chosen, targets, doing), hint=f"possible in: {', '.join(sorted(statuses))}")
    return reached


def _matches(candidate: Candidate, targets: Targets) -> bool:
    if targets.layers and not set(targets.layers) & set(candidate.layers):
        return False
    if targets.only and not any(fnmatchcase(candidate.name, pattern) for pattern in targets.only):
        return False
    return not any(fnmatchcase(candidate.name, pattern) for pattern in targets.exclude)


def _known(kind: str, asked: Iterable[str], there: Sequence[str]) -> None:
    for name in asked:
        if name not in there:
            hint = did_you_mean(name, there) or f"the stack has {', '.join(there) or 'none'}"
            raise UsageError(f"there is no {kind} '{name}'", hint=hint)


def _nobody(chosen: Sequence[Candidate], targets: Targets, doing: str) -> str:
    if not chosen:
        return f"no instance is selected ({targets.describe()})"
    found = ", ".join(f"{candidate.name} is {candidate.status}{candidate.said}" for candidate in chosen[:8])
    more = f" and {len(chosen) - 8} more" if len(chosen) > 8 else ""
    return f"no instance can be {doing} ({targets.describe()}): {found}{more}"
