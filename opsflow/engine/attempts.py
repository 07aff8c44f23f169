"""Attempts at one operation: when pyinfra tries it again, and what one attempt has come to.

A failed attempt is followed by another one, from the operation's start, as long as there are retries; a condition
(`_retry_until`) may ask for another one after a success. Conditions are the recipe's code: they see real results only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.connectors.util import OutputLine

from opsflow.engine.messages import CommandAnswer


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operation's global arguments say about errors."""

    retries: int
    delay: float
    until: Callable[[dict[str, Any]], Any] | None
    continues: bool
    """The commands after a failed one run, too."""


def policy(arguments: Mapping[str, Any]) -> Policy:
    """The policy of an operation."""
    return Policy(
        retries=max(0, int(arguments.get("_retries") or 0)),
        delay=max(0.0, float(arguments.get("_retry_delay") or 0)),
        until=arguments.get("_retry_until"),
        continues=arguments.get("_continue_on_error") is True,
    )


@dataclass(slots=True)
class Attempt:
    """One attempt, as far as it is known."""

    number: int
    commands: list[Any] = field(default_factory=list)
    lines: list[OutputLine] = field(default_factory=list)
    executed: int = 0
    error: bool = False
    partial: bool = False
    """Whether some of its output may be missing."""

    def add(self, outcome: CommandAnswer | None) -> None:
        """Note how a command ended; None: it has not run yet and is assumed to succeed."""
        if outcome is not None:
            self.lines += _output(outcome)
            self.partial = self.partial or outcome.partial
        if outcome is None or outcome.success:
            self.executed += 1
        else:
            self.error = True

    def again(self, rules: Policy, host: str, operation: str, warn: Callable[[str], None]) -> bool:
        """Whether another one follows, now that all of it has happened."""
        if self.number >= rules.retries:
            return False
        if self.error:
            return True
        if not rules.until:
            return False
        try:
            return bool(rules.until(self._story(host, operation)))
        except Exception as error:  # noqa: BLE001 - as in pyinfra: a broken condition asks for nothing
            warn(f"operation '{operation}': _retry_until failed: {type(error).__name__}: {error}")
            return False

    def _story(self, host: str, operation: str) -> dict[str, Any]:
        """What pyinfra tells a condition."""
        return {
            "stdout_lines": [line.line for line in self.lines if line.buffer_name == "stdout"],
            "stderr_lines": [line.line for line in self.lines if line.buffer_name == "stderr"],
            "commands": [str(command) for command in self.commands],
            "executed_commands": self.executed,
            "host": host,
            "operation": operation,
        }


def _output(outcome: CommandAnswer) -> list[OutputLine]:
    pairs = (("stdout", outcome.stdout), ("stderr", outcome.stderr))
    return [OutputLine(name, line) for name, text in pairs if text for line in text.removesuffix("\n").split("\n")]
