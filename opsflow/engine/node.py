"""What a recipe sees: this instance, its layers, the whole stack as it is now, its attributes and the event.

Everything is read-only, and every read is recorded, so that opsflow can say who depends on what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from opsflow.model.result import Reads
from opsflow.model.snapshot import AppSnapshot, EventSnapshot, MemberSnapshot, NodeSnapshot

_MISSING = object()


class _Recorder:
    """Collects what is read, in order of the first read."""

    def __init__(self) -> None:
        self.layers: dict[str, None] = {}
        self.instances: dict[str, None] = {}
        self.attributes: dict[str, None] = {}
        self.apps: dict[str, None] = {}
        self.moment = False

    def reads(self) -> Reads:
        return Reads(
            layers=tuple(self.layers),
            instances=tuple(self.instances),
            attributes=tuple(self.attributes),
            apps=tuple(self.apps),
        )


class MemberView:
    """One instance of the stack, as others see it."""

    __slots__ = ("_record", "_snapshot")

    def __init__(self, snapshot: MemberSnapshot, record: _Recorder) -> None:
        self._snapshot = snapshot
        self._record = record

    def _read(self) -> MemberSnapshot:
        self._record.instances.setdefault(self._snapshot.name)
        return self._snapshot

    @property
    def name(self) -> str:
        """Its name, which is its hostname."""
        return self._snapshot.name

    @property
    def layers(self) -> tuple[str, ...]:
        """Its layers, in the stack's order."""
        return self._snapshot.layers

    @property
    def status(self) -> str:
        """Its status, such as ``online``."""
        return self._read().status

    @property
    def online(self) -> bool:
        """Whether it is online; a reboot, which fires no event, does not take it out."""
        return self._read().online

    @property
    def address(self) -> str | None:
        """The address that other instances reach it at: its private address if it has one."""
        return self._read().private_address or self._snapshot.address

    @property
    def private_address(self) -> str | None:
        """Its address inside the network of the stack."""
        return self._read().private_address

    @property
    def public_address(self) -> str | None:
        """Its address outside."""
        return self._read().public_address

    @property
    def data(self) -> Mapping[str, Any]:
        """What the inventory says about it (static machines)."""
        return _frozen_mapping(self._read().data)

    def __repr__(self) -> str:
        return f"<instance {self.name}>"


class LayerView:
    """One layer of the stack as it is now."""

    __slots__ = ("_members", "_name", "_record")

    def __init__(self, name: str, members: tuple[MemberView, ...], record: _Recorder) -> None:
        self._name = name
        self._members = members
        self._record = record

    @property
    def name(self) -> str:
        """Its name in the stack file."""
        return self._name

    @property
    def instances(self) -> tuple[MemberView, ...]:
        """All its instances, whatever their status, in the stack's order."""
        self._record.layers.setdefault(self.name)
        return self._members

    @property
    def online(self) -> tuple[MemberView, ...]:
        """Its online instances, in the stack's order."""
        return tuple(member for member in self.instances if member.online)

    def __repr__(self) -> str:
        return f"<layer {self.name}>"


class StackView:
    """The whole stack as it was when this run list started."""

    __slots__ = ("_layers", "_members", "_name", "_record")

    def __init__(self, snapshot: NodeSnapshot, record: _Recorder) -> None:
        self._name = snapshot.stack
        self._record = record
        self._members = {member.name: MemberView(member, record) for member in snapshot.members}
        self._layers = {
            name: LayerView(name, tuple(m for m in self._members.values() if name in m.layers), record)
            for name in snapshot.layer_names
        }

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def layer(self, name: str) -> LayerView:
        """One layer.

        Raises:
            KeyError: the stack has no such layer; the message lists those it has.
        """
        if name not in self._layers:
            raise KeyError(f"stack '{self.name}' has no layer '{name}'; it has {', '.join(self._layers) or 'none'}")
        return self._layers[name]

    @property
    def layers(self) -> tuple[LayerView, ...]:
        """All layers, in order."""
        return tuple(self._layers.values())

    @property
    def instances(self) -> tuple[MemberView, ...]:
        """All instances, whatever their status."""
        for name in self._layers:
            self._record.layers.setdefault(name)
        return tuple(self._members.values())

    @property
    def online(self) -> tuple[MemberView, ...]:
        """All online instances."""
        return tuple(member for member in self.instances if member.online)

    def instance(self, name: str) -> MemberView:
        """One instance.

        Raises:
            KeyError: the stack has no such instance.
        """
        if name not in self._members:
            raise KeyError(f"stack '{self.name}' has no instance '{name}'; it has {', '.join(self._members) or 'none'}")
        return self._members[name]


class AppView:
    """One app of this instance's layers."""

    __slots__ = ("_record", "_snapshot")

    def __init__(self, snapshot: AppSnapshot, record: _Recorder) -> None:
        self._snapshot = snapshot
        self._record = record

    @property
    def name(self) -> str:
        """Its name in the stack file."""
        return self._snapshot.name

    @property
    def deploy(self) -> bool:
        """Whether this event deploys it (or undeploys it, or rolls it back)."""
        return self._snapshot.deploy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in AppSnapshot.model_fields:
            raise AttributeError(f"an app has no '{name}'; it has {', '.join(AppSnapshot.model_fields)}")
        self._record.apps.setdefault(self._snapshot.name)
        value = getattr(self._snapshot, name)
        return _frozen(value) if isinstance(value, Mapping) else value

    def __repr__(self) -> str:
        return f"<app {self.name}>"


class EventView:
    """The event that this run list answers, and why it fired."""

    __slots__ = ("_record", "_snapshot")

    def __init__(self, snapshot: EventSnapshot, record: _Recorder) -> None:
        self._snapshot = snapshot
        self._record = record

    @property
    def type(self) -> str:
        """Its kind, such as ``configure``."""
        return self._snapshot.type

    @property
    def reason(self) -> str:
        """Why it fired, for people."""
        return self._of_the_moment().reason

    @property
    def run(self) -> str:
        """Id of the run."""
        return self._of_the_moment().run

    @property
    def command(self) -> str:
        """Id of the command."""
        return self._of_the_moment().command

    @property
    def sent_at(self) -> str:
        """The run's time, ISO 8601, UTC."""
        return self._of_the_moment().sent_at

    def _of_the_moment(self) -> EventSnapshot:
        """What is another one in each event; what depends on it holds for this one only."""
        self._record.moment = True
        return self._snapshot

    def __repr__(self) -> str:
        return f"<event {self.type}>"


class Node:
    """This instance, and everything it may know. Passed to every recipe."""

    def __init__(self, snapshot: NodeSnapshot) -> None:
        self._snapshot = snapshot
        self._record = _Recorder()
        self.stack = StackView(snapshot, self._record)
        self.event = EventView(snapshot.event, self._record)
        self._apps = {app.name: AppView(app, self._record) for app in snapshot.apps}

    @property
    def name(self) -> str:
        """Its name, which is its hostname."""
        return self._snapshot.name

    @property
    def layers(self) -> tuple[str, ...]:
        """Its layers, in the stack's order."""
        return self._snapshot.layers

    @property
    def address(self) -> str | None:
        """The address that other instances reach it at."""
        return self.stack.instance(self.name).address

    @property
    def packages(self) -> tuple[str, ...]:
        """Operating system packages that its layers ask for."""
        return self._snapshot.packages

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes, all levels merged. Prefer :meth:`get`, which records just the key."""
        self._record.attributes.setdefault("*")
        return _frozen_mapping(self._snapshot.attributes)

    def get(self, key: str, default: Any = _MISSING) -> Any:
        """One attribute by its dotted key, such as ``app.workers``.

        Raises:
            KeyError: it is not set and no default is given.
        """
        self._record.attributes.setdefault(key)
        value: Any = self._snapshot.attributes
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                if default is _MISSING:
                    raise KeyError(f"attribute '{key}' is not set for {self.name}; set it or give a default")
                return default
            value = value[part]
        return _frozen(value)

    @property
    def apps(self) -> tuple[AppView, ...]:
        """The apps of its layers, in the stack's order."""
        return tuple(self._apps.values())

    def app(self, name: str) -> AppView:
        """One app of its layers.

        Raises:
            KeyError: no layer of this instance has such an app.
        """
        if name not in self._apps:
            raise KeyError(f"no layer of {self.name} has an app '{name}'; apps here: {', '.join(self._apps) or 'none'}")
        return self._apps[name]

    @property
    def deploying(self) -> Iterator[AppView]:
        """The apps that this event deploys (or undeploys, or rolls back)."""
        return (app for app in self._apps.values() if app.deploy)

    @property
    def reads(self) -> Reads:
        """What was read so far."""
        return self._record.reads()

    @property
    def of_the_moment(self) -> bool:
        """Whether something was read that is another one in each event."""
        return self._record.moment

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_") and hasattr(self, name):
            raise AttributeError(f"node.{name} is read-only")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<node {self.name} of {self._snapshot.stack}>"


def _frozen_mapping(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType({key: _frozen(item) for key, item in value.items()})


def _frozen(value: Any) -> Any:
    """A read-only view of JSON-like data."""
    if isinstance(value, Mapping):
        return _frozen_mapping(value)
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value
