"""The instances of a stack as recipes of others see them, made anew only where something changed.

Every node has all of them: made for each node apart, the work would grow with the square of their number.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from opsflow.model.secrecy import secret_values
from opsflow.model.snapshot import MemberSnapshot
from opsflow.model.stack import Stack
from opsflow.model.state import InstanceState, StackState


@dataclass(frozen=True, slots=True)
class Everyone:
    """All instances at one moment."""

    members: tuple[MemberSnapshot, ...]
    """The same object as long as they are the same."""
    secrets: tuple[str, ...]
    """What is secret of all that is said of them."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One instance, what it was made from, and what is secret of it."""

    layers: tuple[str, ...]
    state: InstanceState | None
    member: MemberSnapshot
    secrets: tuple[str, ...]


class Neighbours:
    """Remembers how the instances of one stack were seen last. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._observed: tuple[Stack, StackState] | None = None
        self._seen: dict[str, _Seen] = {}
        self._everyone = Everyone((), ())

    def of(self, stack: Stack, observed: StackState) -> Everyone:
        """Every instance: the declared ones in the stack's order, then those that are still there."""
        with self._lock:
            if self._observed is None or self._observed[0] is not stack or self._observed[1] is not observed:
                self._look(stack, observed)
            return self._everyone

    def _look(self, stack: Stack, observed: StackState) -> None:
        seen = {name: self._see(name, layers, state) for name, layers, state in _instances(stack, observed)}
        members = tuple(each.member for each in seen.values())
        before = self._everyone.members
        if len(members) != len(before) or any(a is not b for a, b in zip(members, before, strict=True)):
            secrets = (secret for each in seen.values() for secret in each.secrets)
            self._everyone = Everyone(members, tuple(dict.fromkeys(secrets)))
        self._seen, self._observed = seen, (stack, observed)

    def _see(self, name: str, layers: tuple[str, ...], state: InstanceState | None) -> _Seen:
        before = self._seen.get(name)
        if before is None:
            return _fresh(name, layers, state)
        if before.state is state and before.layers is layers:
            return before
        now = _fresh(name, layers, state)
        if now.member == before.member:
            return _Seen(layers, state, before.member, before.secrets)
        return now


def _instances(stack: Stack, observed: StackState) -> Iterator[tuple[str, tuple[str, ...], InstanceState | None]]:
    for name, member in stack.members.items():
        state = observed.instances.get(name)
        yield name, state.layers if state else member.layers, state
    for name, state in observed.instances.items():
        if name not in stack.members:
            yield name, state.layers, state


def _fresh(name: str, layers: tuple[str, ...], state: InstanceState | None) -> _Seen:
    member = _member(name, layers, state)
    return _Seen(layers, state, member, tuple(secret_values(member.data)))


def _member(name: str, layers: tuple[str, ...], state: InstanceState | None) -> MemberSnapshot:
    machine = state.machine if state else None
    status = state.status.value if state else "stopped"
    if machine is None:
        return MemberSnapshot(name=name, layers=layers, status=status)
    return MemberSnapshot(
        name=name,
        layers=layers,
        status=status,
        address=machine.address,
        private_address=machine.private_address,
        public_address=machine.public_address,
        ssh_port=machine.port,
        user=machine.user,
        data=machine.data,
    )
