"""One request in progress: its run, its commands, its failures, and whether it was broken off."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsflow.controller.bundles import Bundles
from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.digests import Digests
from opsflow.controller.ledger import Ledger, News
from opsflow.controller.parts import Parts
from opsflow.controller.places import Places
from opsflow.controller.records import Records
from opsflow.controller.secrets import kept
from opsflow.lifecycle.commands import BAD, advance, exit_code, run_status
from opsflow.model.command import Command, CommandStatus, CommandType, Run
from opsflow.model.result import HostResult, HostStatus
from opsflow.ports import Changes


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance failed otherwise than in a command."""

    reason: str
    unreachable: bool = False


class Work:
    """What the threads of one request share."""

    def __init__(
        self,
        parts: Parts,
        ledger: Ledger,
        records: Records,
        digests: Digests,
        run: Run,
        *,
        options: RunOptions,
        cancel: threading.Event,
        bundles: Bundles | None = None,
    ) -> None:
        self.parts = parts
        self.ledger = ledger
        self.records = records
        self.digests = digests
        self.run = run
        self.options = options
        self.cancel = cancel
        self.bundles = bundles or Bundles(parts)
        self.places = Places(parts.parallel, parts.clock)
        self.leaving: frozenset[str] = frozenset()
        """Instances that this request stops: they need no configure any more."""
        self._lock = threading.Lock()
        self._kept = kept(options.attributes, parts.redact)
        """The overrides as the records may hold them; what recipes see has the true ones."""
        self._commands: dict[str, Command] = {}
        self._results: dict[str, HostResult] = {}
        self._failures: dict[str, Failure] = {}

    # ---------------------------------------------------------------------------------------- commands

    def new_command(self, instance: str, kind: CommandType, reason: str, **fields: Any) -> Command:
        """A pending command of this run, not committed."""
        with self._lock:
            command = Command(
                id=f"{self.run.id}.{len(self._commands) + 1}",
                run=self.run.id,
                stack=self.parts.stack.name,
                instance=instance,
                type=kind,
                reason=reason,
                attributes=self._kept,
                epoch=self.run.epoch,
                created_at=self.parts.clock.now(),
                **fields,
            )
            self._commands[command.id] = command
        return command

    def start(self, commands: Sequence[Command], message: str) -> None:
        """Commit the run and the commands that it begins with."""
        news = News("run.started", message, run=self.run.id, data={"action": self.run.action})
        self.ledger.write(news, changes=Changes(entries=(), runs=[self.run], commands=tuple(commands)))

    def announce(self, commands: Sequence[Command], message: str) -> None:
        """Commit further pending commands."""
        names = [command.instance for command in commands]
        news = News("command.created", message, run=self.run.id, data={"instances": names})
        self.ledger.write(news, changes=Changes(entries=(), commands=tuple(commands)))

    def now(self, command: Command) -> Command:
        """The command as it is now."""
        with self._lock:
            return self._commands[command.id]

    def advanced(self, command: Command, status: CommandStatus, **fields: Any) -> Command:
        """The command in a new status, not committed."""
        advance(self.now(command).status, status)
        times: dict[str, Any] = {"completed_at" if status.final else "acknowledged_at": self.parts.clock.now()}
        return self.now(command).model_copy(update={"status": status, **times, **fields})

    def note(self, *commands: Command, result: tuple[str, HostResult] | None = None) -> None:
        """Remember what was committed."""
        with self._lock:
            self._commands |= {command.id: command for command in commands}
            if result:
                self._results[result[0]] = result[1]

    def close(self, commands: Iterable[Command], status: CommandStatus, detail: str) -> None:
        """End commands that never began."""
        ended = [self.advanced(command, status, detail=detail) for command in commands]
        if not ended:
            return
        news = [News.of(command, f"command.{status}", _ended(command)) for command in ended]
        self.ledger.write(*news, changes=Changes(entries=(), commands=ended))
        self.note(*ended)

    def pending(self) -> tuple[Command, ...]:
        """The commands that have not begun."""
        with self._lock:
            return tuple(c for c in self._commands.values() if c.status is CommandStatus.PENDING)

    def commands_of(self, instance: str) -> tuple[Command, ...]:
        """The commands of this run on one instance."""
        with self._lock:
            return tuple(c for c in self._commands.values() if c.instance == instance)

    # ---------------------------------------------------------------------------------------- the end

    def fail(self, instance: str, reason: str, *, unreachable: bool = False) -> None:
        """An instance failed otherwise than in a command."""
        with self._lock:
            self._failures[instance] = Failure(self.parts.redact.text(reason), unreachable)

    def failed(self, instances: Iterable[str]) -> tuple[str, ...]:
        """Those of ``instances`` on which something failed."""
        with self._lock:
            bad = {c.instance for c in self._commands.values() if c.status in BAD} | self._failures.keys()
        return tuple(name for name in instances if name in bad)

    def finish(self) -> Outcome:
        """Close the run."""
        self.close(self.pending(), CommandStatus.CANCELLED, "the run ended before it began")
        commands = tuple(self._commands.values())
        cancelled = self.cancel.is_set()
        status = run_status([c.status for c in commands], cancelled=cancelled, failed=bool(self._failures))
        detail = self._detail(commands, cancelled)
        self.run = self.run.model_copy(
            update={"status": status, "detail": detail, "completed_at": self.parts.clock.now()}
        )
        text = f"run {self.run.id} ({self.run.action}) is {status}" + (f": {detail}" if detail else "")
        failures = {name: failure.reason for name, failure in self._failures.items()}
        news = News(f"run.{status}", text, run=self.run.id, data={"failures": failures} if failures else {})
        self.ledger.write(news, changes=Changes(entries=(), runs=[self.run]))
        unreachable, failed = self._counts(commands)
        code = exit_code(status, failed=failed, unreachable=unreachable)
        return Outcome(self.run, commands, dict(self._results), code, failures)

    def _counts(self, commands: Sequence[Command]) -> tuple[int, int]:
        """(unreachable, failed) commands and instances."""
        lost = {name for name, result in self._results.items() if result.status is HostStatus.UNREACHABLE}
        bad = [command.id in lost for command in commands if command.status in BAD]
        bad += [failure.unreachable for failure in self._failures.values()]
        return bad.count(True), bad.count(False)

    def _detail(self, commands: Sequence[Command], cancelled: bool) -> str:
        bad = dict.fromkeys(c.instance for c in commands if c.status in BAD) | dict.fromkeys(self._failures)
        parts = ["cancelled by the user"] if cancelled else []
        if bad:
            parts.append(f"failed on {', '.join(bad)}")
        return "; ".join(parts)


def _ended(command: Command) -> str:
    text = f"{command.type} on {command.instance} is {command.status}"
    return f"{text}: {command.detail}" if command.detail else text


def changes_of(command: Command, **more: Any) -> Changes:
    """The changes of one command, and more."""
    return replace(Changes(entries=(), commands=[command]), **more)


def as_request(
    use: str, options: RunOptions, **asked: Mapping[str, Any] | Sequence[str] | str | None
) -> dict[str, Any]:
    """What was asked for, so that it can be asked again."""
    given = {name: value for name, value in asked.items() if value not in (None, (), [], {}, "")}
    return {"use": use, **given, **({"options": options.as_data()} if options.as_data() else {})}
