"""The instances as they are now. Every change of status goes through the lifecycle table and into the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from opsflow.controller.ledger import Ledger, News
from opsflow.controller.parts import Parts
from opsflow.errors import UsageError
from opsflow.lifecycle.states import Trigger, membership_changes, transition
from opsflow.model.state import InstanceState, InstanceStatus, StackState
from opsflow.ports import Changes

Update = Callable[[InstanceState], InstanceState]
MembershipObserver = Callable[[str, bool], None]
"""(instance, whether it came online)."""


class Records:
    """A mirror of the store's state. The lease makes this process the only writer, so both always agree."""

    def __init__(self, parts: Parts, ledger: Ledger) -> None:
        self._parts = parts
        self._ledger = ledger
        self._lock = threading.Lock()
        self._state = StackState(stack=parts.stack.name)
        self.on_membership: MembershipObserver = lambda name, online: None
        self.on_rebooted: Callable[[str], None] = lambda name: None

    def load(self) -> StackState:
        """Read the store."""
        state = self._parts.store.state(self._parts.stack.name)
        with self._lock:
            self._state = state
        return state

    def state(self) -> StackState:
        """Everything that is known now."""
        with self._lock:
            return self._state

    def find(self, name: str) -> InstanceState | None:
        """One instance; None when it has no record."""
        return self.state().instances.get(name)

    def get(self, name: str) -> InstanceState:
        """One instance.

        Raises:
            UsageError: it has no record.
        """
        found = self.find(name)
        if found is None:
            raise UsageError(f"instance '{name}' was never started")
        return found

    def declare(self, name: str, generation: int) -> InstanceState:
        """A new record, not committed: it begins to exist with its first change of status.

        One that is not in the stack file, whose machine was found, is in no layer.
        """
        member = self._parts.stack.members.get(name)
        now = self._parts.clock.now()
        return InstanceState(
            stack=self._parts.stack.name,
            name=name,
            layers=member.layers if member else (),
            runs=member.runs if member else "always",
            provider=self._parts.compute.name,
            generation=generation,
            created_at=now,
            changed_at=now,
        )

    def move(
        self,
        state: InstanceState,
        trigger: Trigger,
        reason: str,
        *,
        run: str | None,
        data: dict[str, Any] | None = None,
        **update: Any,
    ) -> InstanceState:
        """Change the status of an instance by the lifecycle table, with other fields, in one commit.

        Raises:
            IllegalTransition: the table has no such transition.
        """
        with self._parts.locks.of(f"record {state.name}"):
            before = self.find(state.name) or state
            after = moved(before, trigger, reason, self._parts, **update)
            text = f"{state.name} is {after.status}" + (f": {reason}" if reason else "")
            news = News(f"instance.{after.status}", text, instance=state.name, run=run, data=data or {})
            self.commit([after], news)
        if membership_changes(before.status, trigger):
            self.on_membership(state.name, after.status is InstanceStatus.ONLINE)
        elif trigger is Trigger.REBOOTED:
            self.on_rebooted(state.name)
        return after

    def update(self, name: str, update: Update, *news: News, changes: Changes | None = None) -> InstanceState:
        """Change other fields than the status, together with ``changes``."""
        with self._parts.locks.of(f"record {name}"):
            before = self.get(name)
            after = update(before)
            self.commit([after] if after is not before else [], *news, changes=changes)
        return after

    def remove(self, state: InstanceState, news: News) -> None:
        """Forget an instance."""
        self._ledger.write(news, changes=Changes(entries=(), removed=[(state.stack, state.name)]))
        self._mirror(lambda instances: {name: other for name, other in instances.items() if name != state.name})

    def commit(self, states: Sequence[InstanceState], *news: News, changes: Changes | None = None) -> None:
        """Write records and more in one transaction."""
        self._ledger.write(*news, changes=replace(changes or Changes(entries=()), instances=tuple(states)))
        if states:
            self._mirror(lambda instances: instances | {state.name: state for state in states})

    def _mirror(self, change: Callable[[dict[str, InstanceState]], dict[str, InstanceState]]) -> None:
        with self._lock:
            instances = change(dict(self._state.instances))
            self._state = self._state.model_copy(update={"instances": instances})


def moved(state: InstanceState, trigger: Trigger, reason: str, parts: Parts, **update: Any) -> InstanceState:
    """The record after a transition.

    Raises:
        IllegalTransition: the table has no such transition.
    """
    status = transition(state.status, trigger)
    now = parts.clock.now()
    since = {"online_since": now if status is InstanceStatus.ONLINE else None}
    return state.model_copy(
        update={"status": status, "reason": parts.redact.text(reason), "changed_at": now, **since, **update}
    )
