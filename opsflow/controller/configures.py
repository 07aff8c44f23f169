"""Sending configure: bursts are coalesced, per instance one runs and one waits (decision D5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from opsflow.controller.executor import Executor
from opsflow.controller.work import Work
from opsflow.lifecycle.coalescing import Waiting, why
from opsflow.model.command import Command, CommandStatus, CommandType
from opsflow.model.state import InstanceStatus

Submit = Callable[[Callable[[], None]], None]


class Configures:
    """The configures of one request."""

    def __init__(self, work: Work, executor: Executor, changed: threading.Condition) -> None:
        self._work = work
        self._executor = executor
        self._changed = changed
        """Guards everything here, and tells the conductor that something happened."""
        self._waiting = Waiting()
        self._joined: list[str] = []
        self._left: list[str] = []
        self._asked: dict[str, str] = {}
        self._missed: dict[str, str] = {}
        """Instances that rebooted when configure was sent to the others, and why it was."""
        self.rounds = 0
        """How often configure was sent."""

    def membership_changed(self, name: str, online: bool) -> None:
        """An instance entered or left online: everyone who is online must configure."""
        with self._changed:
            (self._joined if online else self._left).append(name)
            self._waiting = self._waiting.changed(self._work.parts.clock.monotonic())
            self._changed.notify_all()

    def ask(self, names: Iterable[str], reason: str) -> None:
        """Configure these, although the membership is as it was."""
        with self._changed:
            self._asked |= dict.fromkeys(names, reason)
            self._waiting = self._waiting.changed(self._work.parts.clock.monotonic() - self._work.parts.debounce)
            self._changed.notify_all()

    def rebooted(self, name: str) -> None:
        """An instance is back from a reboot: it configures if the others did meanwhile."""
        with self._changed:
            reason = self._missed.pop(name, None)
        if reason is not None:
            self.ask([name], reason)

    def due_in(self) -> float | None:
        """Seconds until :meth:`send` is due; None when nothing has changed."""
        with self._changed:
            return self._waiting.due_in(self._work.parts.clock.monotonic(), self._work.parts.debounce)

    @property
    def idle(self) -> bool:
        """Whether everyone who must configure has done so."""
        with self._changed:
            return self._waiting.idle

    def drop(self) -> None:
        """The request was broken off: nothing more is sent. The next `up` sees who is behind."""
        with self._changed:
            self._waiting = Waiting(pending=self._waiting.pending, running=self._waiting.running)

    def send(self, submit: Submit) -> None:
        """Send configure to everyone who needs it, and submit the commands."""
        with self._changed:
            reasons = self._reasons()
            self._joined, self._left, self._asked = [], [], {}
            self.rounds += 1
            commands = {
                name: self._work.new_command(name, CommandType.CONFIGURE, reason) for name, reason in reasons.items()
            }
            self._waiting, superseded = self._waiting.sent({name: command.id for name, command in commands.items()})
        self._commit(commands, frozenset(superseded))
        for command in commands.values():
            submit(partial(self._run, command))

    def _commit(self, commands: dict[str, Command], superseded: frozenset[str]) -> None:
        if superseded:
            older = [command for command in self._work.pending() if command.id in superseded]
            self._work.close(older, CommandStatus.SUPERSEDED, "a newer configure takes its place")
        if commands:
            reason = next(iter(commands.values())).reason
            self._work.announce(tuple(commands.values()), f"configure on {', '.join(commands)}: {reason}")

    def _reasons(self) -> dict[str, str]:
        members, observed = self._work.parts.stack.members, self._work.records.state()
        there = set(observed.online) - self._work.leaving
        online = [*(name for name in members if name in there), *sorted(there - members.keys())]
        if self._joined or self._left:
            reasons = dict.fromkeys(online, why(self._joined, self._left))
        else:
            reasons = {name: self._asked[name] for name in online if name in self._asked}
        down = [name for name in reasons if observed.instances[name].status is InstanceStatus.REBOOTING]
        self._missed |= {name: reasons.pop(name) for name in down}
        return reasons

    def _run(self, command: Command) -> None:
        try:
            with self._work.places.holding(self._work.parts.locks.of(command.instance)):
                if self._begin(command):
                    self._executor.run(command)
        finally:
            with self._changed:
                self._waiting = self._waiting.ended(command.instance, command.id)
                self._changed.notify_all()

    def _begin(self, command: Command) -> bool:
        """Whether it is still its turn, and nothing newer took its place."""
        with self._changed:
            if not self._waiting.waits(command.instance, command.id):
                return False
            self._waiting = self._waiting.started(command.instance, command.id)
            return True
