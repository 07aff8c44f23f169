"""The end of a run: what became of each instance, what was slow, the first error in full, how to retry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opsflow.cli.terminal import Terminal, block
from opsflow.cli.text import duration, one_line
from opsflow.model.command import Command, CommandStatus, RunStatus
from opsflow.model.result import HostStatus, OperationResult, OperationStatus

if TYPE_CHECKING:
    from opsflow.controller import Outcome
    from opsflow.model.result import HostResult

SLOWEST = 5
WORTH_NAMING = 0.5
"""Seconds below which no operation is called slow."""


def print_recap(terminal: Terminal, outcome: Outcome) -> None:
    """Print the recap on stderr; the first error and the retry command are the last things on the screen."""
    found = _by_instance(outcome)
    rows = [_row(name, commands, outcome) for name, commands in sorted(found.items())]
    if rows:
        changed = "WOULD CHANGE" if _checked(outcome) else "CHANGED"
        headings = ("INSTANCE", "RESULT", "OK", changed, "FAILED", "UNREACHABLE", "TOOK")
        terminal.note()
        terminal.note("\n".join(terminal.recap(headings, rows, right=headings[2:])))
    _print_slowest(terminal, outcome)
    run = outcome.run
    style = "green" if run.status is RunStatus.SUCCESSFUL else "red"
    took = "" if run.completed_at is None else f" in {duration((run.completed_at - run.created_at).total_seconds())}"
    detail = f": {one_line(run.detail)}" if run.detail else ""
    terminal.note(f"\nRun {run.id} {run.action}: {terminal.paint(run.status.value, style)}{took}{detail}")
    _print_error(terminal, outcome)


def _checked(outcome: Outcome) -> bool:
    """Whether nothing was changed because only a look was asked for."""
    hypothetical = (OperationStatus.WOULD_CHANGE, OperationStatus.MAYBE)
    return any(
        operation.status in hypothetical for result in outcome.results.values() for operation in result.operations
    )


def _by_instance(outcome: Outcome) -> dict[str, list[Command]]:
    """Its commands by instance; also the instances that failed before any command, such as at their start."""
    found: dict[str, list[Command]] = {}
    for command in outcome.commands:
        found.setdefault(command.instance, []).append(command)
    for name in outcome.failures:
        found.setdefault(name, [])
    return found


def _row(name: str, commands: Sequence[Command], outcome: Outcome) -> Sequence[object]:
    results = [result for command in commands if (result := outcome.results.get(command.id))]
    statuses = [operation.status for result in results for operation in result.operations]
    changed, fine, failed = _count(statuses, _CHANGED), _count(statuses, _FINE), _count(statuses, _FAILED)
    unreachable = sum(result.status is HostStatus.UNREACHABLE for result in results)
    seconds = sum(_seconds(command) for command in commands)
    verdict = "failed" if name in outcome.failures else _verdict(commands, results)
    return name, verdict, fine, changed, failed, unreachable, duration(seconds)


_CHANGED = (OperationStatus.CHANGED, OperationStatus.WOULD_CHANGE, OperationStatus.MAYBE)
_FINE = (*_CHANGED, OperationStatus.UNCHANGED, OperationStatus.IGNORED)
_FAILED = (OperationStatus.FAILED,)


def _count(statuses: Sequence[OperationStatus], among: Sequence[OperationStatus]) -> int:
    return sum(status in among for status in statuses)


def _seconds(command: Command) -> float:
    if command.completed_at is None:
        return 0.0
    return (command.completed_at - (command.acknowledged_at or command.created_at)).total_seconds()


_WORST = (
    CommandStatus.FAILED, CommandStatus.EXPIRED, CommandStatus.CANCELLED, CommandStatus.RUNNING, CommandStatus.PENDING,
    CommandStatus.SUCCESSFUL, CommandStatus.SKIPPED, CommandStatus.SUPERSEDED,
)  # fmt: skip


def _verdict(commands: Sequence[Command], results: Sequence[HostResult]) -> str:
    """The worst that happened."""
    if any(result.status is HostStatus.UNREACHABLE for result in results):
        return "unreachable"
    return min((command.status for command in commands), key=_WORST.index).value


def _print_slowest(terminal: Terminal, outcome: Outcome) -> None:
    timed: list[tuple[float, str, OperationResult]] = [
        (operation.duration, command.instance, operation)
        for command in outcome.commands
        if (result := outcome.results.get(command.id))
        for operation in result.operations
        if operation.duration >= WORTH_NAMING
    ]
    if not timed:
        return
    slowest = sorted(timed, key=lambda item: -item[0])[:SLOWEST]
    rows = [(duration(seconds), f"[{name}]", operation.name, operation.recipe) for seconds, name, operation in slowest]
    terminal.note()
    terminal.note("\n".join(terminal.recap(("SLOWEST", "", "", ""), rows, right=("SLOWEST",))))


def _print_error(terminal: Terminal, outcome: Outcome) -> None:
    broken = [command for command in outcome.commands if _needs_retry(command)]
    wrong = [command for command in broken if command.status is not CommandStatus.CANCELLED]
    told = [(command, text) for command in wrong if (text := _error_of(command, outcome))]
    names = {*(command.instance for command in broken), *outcome.failures}
    if told:
        first, text = min(told, key=lambda item: item[0].completed_at or item[0].created_at)
        _print_first(terminal, f"{first.type} on {first.instance}", text, len(names - {first.instance}))
    elif outcome.failures:
        name, text = next(iter(outcome.failures.items()))
        _print_first(terminal, name, text, len(names - {name}))
    if outcome.run.status is not RunStatus.SUCCESSFUL:
        failed = " --failed" if names else ""
        terminal.note(f"\nRetry with: {terminal.paint(f'opsflow runs retry {outcome.run.id}{failed}', 'bold')}")


def _print_first(terminal: Terminal, where: str, text: str, others: int) -> None:
    more = f" (and {others} other instance{'s' if others > 1 else ''})" if others else ""
    title = f"First error: {where}{more}"
    terminal.note(f"\n{terminal.paint(title, 'red')}\n{block(text)}")


def _needs_retry(command: Command) -> bool:
    return command.status in (CommandStatus.FAILED, CommandStatus.EXPIRED, CommandStatus.CANCELLED)


def _error_of(command: Command, outcome: Outcome) -> str:
    result = outcome.results.get(command.id)
    return (result.error or result.detail if result else "") or command.detail
