"""What the parts of a stack say about each other: every reference must lead somewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

At = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class BrokenReference:
    """A name that leads nowhere, or a thing that is declared twice.

    Attributes:
        at: the way to the offending value from the top of the stack.
        message: what is wrong.
        name: the name that leads nowhere.
        known: the names that would do.
        on_key: whether the key at ``at`` is meant, not its value.
    """

    at: At
    message: str
    name: str = ""
    known: Collection[str] = ()
    on_key: bool = False


def broken_references(stack: Mapping[str, Any]) -> Iterator[BrokenReference]:
    """Every broken reference of a stack in plain data.

    The data may be incomplete or wrong in other ways; what has the wrong shape is passed over.
    """
    layers = _mapping(stack, "layers")
    instances: dict[str, At] = {}
    for at, instance in _instances(stack):
        name = str(at[-1])
        if name in instances:
            where = "/".join(str(step) for step in instances[name][:-1])
            message = f"instance '{name}' is also declared under {where}; declare it once and list its 'layers'"
            yield BrokenReference(at, message, on_key=True)
        instances.setdefault(name, at)
        if at[0] == "instances" and not instance.get("layers"):
            yield BrokenReference(at, f"instance '{name}' needs layers", on_key=True)
        yield from _unknown("layer", (*at, "layers"), instance.get("layers"), layers)
    for name, app in _items(stack, "apps"):
        yield from _unknown("layer", ("apps", name, "layers"), app.get("layers"), layers)
    for name, schedule in _items(stack, "schedules"):
        yield from _unknown("layer", ("schedules", name, "layers"), schedule.get("layers"), layers)
        yield from _unknown("instance", ("schedules", name, "instances"), schedule.get("instances"), instances)


def _instances(stack: Mapping[str, Any]) -> Iterator[tuple[At, Mapping[str, Any]]]:
    for layer_name, layer in _items(stack, "layers"):
        for name, instance in _items(layer, "instances"):
            yield ("layers", layer_name, "instances", name), instance
    for name, instance in _items(stack, "instances"):
        yield ("instances", name), instance


def _unknown(kind: str, at: At, names: object, known: Collection[str]) -> Iterator[BrokenReference]:
    for index, name in enumerate(names if isinstance(names, list | tuple) else ()):
        if isinstance(name, str) and name not in known:
            yield BrokenReference((*at, index), f"there is no {kind} '{name}'", name, known)


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _items(data: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, value in _mapping(data, key).items():
        yield name, value if isinstance(value, Mapping) else {}
