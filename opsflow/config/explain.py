"""Why an attribute of an instance has its value: every level that sets it, and the winner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from opsflow.config.document import DataPath, path_text
from opsflow.config.stacks import LoadedStack
from opsflow.config.words import did_you_mean
from opsflow.errors import UsageError
from opsflow.model.attributes import Attributes, merge

GIVEN = "given"
"""Name of the level of attributes that come with a command (``--set``)."""


class Part(StrEnum):
    """What a level has to do with the value."""

    WINS = "wins"
    MERGED = "merged"
    """It adds to an object to which stronger levels add as well."""
    OVERRIDDEN = "overridden"
    HIDES = "hides"
    """It sets something above the key to a plain value, so that what weaker levels say there is gone."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level that sets the key.

    Attributes:
        name: ``stack``, ``layer NAME``, ``instance NAME`` or ``given``.
        file: where it is written, with ``line`` and ``column``; None for what was given with the command.
        path: where in the file.
        value: what the level says.
        part: what became of that.
    """

    name: str
    value: Any
    part: Part
    path: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The value of a key on an instance and where it comes from, the weakest level first."""

    key: str
    instance: str
    levels: tuple[Level, ...]
    value: Any = None
    """None also when the strongest level hides the key: then there is no winner."""

    @property
    def winner(self) -> Level | None:
        """The strongest level that made the value."""
        return next((level for level in self.levels if level.part is Part.WINS), None)

    @property
    def contributors(self) -> tuple[Level, ...]:
        """Every level that is part of the value."""
        return tuple(level for level in self.levels if level.part in (Part.WINS, Part.MERGED))


def explain(loaded: LoadedStack, key: str, instance: str, over: Attributes | None = None) -> Explanation:
    """Explain the attribute ``key`` (dotted, such as ``app.workers``) on an instance.

    Args:
        loaded: the stack.
        key: which attribute; a name that contains dots itself may be part of it.
        instance: on which instance.
        over: attributes given with a command; they win over the file.

    Raises:
        UsageError: there is no such instance, or no level sets the key.
    """
    members = loaded.stack.members
    if instance not in members:
        hint = did_you_mean(instance, members.keys()) or f"instances: {', '.join(members) or 'none'}"
        raise UsageError(f"stack '{loaded.stack.name}' has no instance '{instance}'", hint=hint)
    sources = list(_sources(loaded, instance, over or {}))
    levels = _judged([level for source in sources if (level := _level(loaded, source, key.split(".")))])
    if not levels:
        known = _known_keys(source.attributes for source in sources)
        hint = did_you_mean(key, known) or f"attributes: {', '.join(known[:20]) or 'none'}"
        raise UsageError(f"no level sets the attribute '{key}' for instance '{instance}'", hint=hint)
    return Explanation(key, instance, levels, _value(levels))


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    attributes: Attributes
    path: DataPath | None


def _sources(loaded: LoadedStack, instance: str, over: Attributes) -> Iterator[_Source]:
    """All levels, the weakest first."""
    stack = loaded.stack
    member = stack.members[instance]
    yield _Source("stack", stack.attributes, ("attributes",))
    for name in member.layers:
        yield _Source(f"layer {name}", stack.layers[name].attributes, ("layers", name, "attributes"))
    home = next((("layers", name) for name, layer in stack.layers.items() if instance in layer.instances), ())
    yield _Source(f"instance {instance}", member.attributes, (*home, "instances", instance, "attributes"))
    yield _Source(GIVEN, over, None)


def _level(loaded: LoadedStack, source: _Source, parts: Sequence[str]) -> Level | None:
    found = _look_up(source.attributes, parts)
    if found is None:
        return None
    inner, value, complete = found
    level = Level(source.name, value, Part.WINS if complete else Part.HIDES, path_text(inner))
    if source.path is None:
        return level
    path = (*source.path, *inner)
    mark = loaded.marks[path].key
    return replace(level, path=path_text(path), file=str(loaded.file), line=mark.line, column=mark.column)


def _look_up(data: Attributes, parts: Sequence[str]) -> tuple[DataPath, Any, bool] | None:
    """The path and value of the key, and whether all of it was found or only a plain value in its way."""
    in_the_way: tuple[DataPath, Any, bool] | None = None
    for size in range(1, len(parts) + 1):
        name = ".".join(parts[:size])
        if name not in data:
            continue
        value, rest = data[name], parts[size:]
        if not rest:
            return (name,), value, True
        if isinstance(value, Mapping):
            deeper = _look_up(value, rest)
            if deeper:
                return (name, *deeper[0]), *deeper[1:]
        else:
            in_the_way = in_the_way or ((name,), value, False)
    return in_the_way


def _judged(levels: Sequence[Level]) -> tuple[Level, ...]:
    """The levels with their final part: seen from the strongest, objects merge until something plain ends it."""
    judged: list[Level] = []
    ended = False
    for level in reversed(levels):
        is_object = isinstance(level.value, Mapping)
        if ended or (judged and judged[-1].part is not Part.HIDES and not is_object):
            part, ended = Part.OVERRIDDEN, True
        elif level.part is Part.HIDES:
            part, ended = Part.HIDES, True
        else:
            part = Part.MERGED if judged else Part.WINS
            ended = not is_object
        judged.append(replace(level, part=part))
    return tuple(reversed(judged))


def _value(levels: Sequence[Level]) -> Any:
    value: Any = None
    for level in levels:
        if level.part in (Part.WINS, Part.MERGED):
            value = merge(value, level.value) if isinstance(value, Mapping) else level.value
    return value


def _known_keys(sources: Iterator[Attributes]) -> list[str]:
    known: dict[str, None] = {}

    def walk(prefix: str, data: Attributes) -> None:
        for name, value in data.items():
            known[f"{prefix}{name}"] = None
            if isinstance(value, Mapping):
                walk(f"{prefix}{name}.", value)

    for source in sources:
        walk("", source)
    return list(known)
