"""The output of a command's operations as lines, each with its instance in front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opsflow.cli.text import clean, duration, from_here, one_line

if TYPE_CHECKING:
    from opsflow.cli.terminal import Terminal
    from opsflow.model.command import Command
    from opsflow.model.result import CommandOutput, HostResult, OperationResult


def lines(terminal: Terminal, command: Command, result: HostResult | None) -> Iterator[str]:
    """A command's log for people."""
    prefix = terminal.paint(f"[{command.instance}]", "cyan", data=True)
    recipes = ", ".join(command.recipes) or "no recipes"
    yield f"{prefix} {command.type}: {recipes}: {command.status}" + (f" ({command.reason})" if command.reason else "")
    for operation in result.operations if result else ():
        yield f"{prefix} {describe(operation)}"
        for output in operation.commands:
            for line in _output_lines(output):
                yield f"{prefix}   {line}"
        for line in clean(operation.diff).splitlines():
            yield f"{prefix}   {line}"
    text = (result.error if result else "") or command.detail
    for line in clean(text).splitlines():
        yield f"{prefix} {line}"


def describe(operation: OperationResult) -> str:
    """One operation on one line."""
    where = f" ({from_here(operation.file)}:{operation.line})" if operation.file else ""
    took = f" {duration(operation.duration)}" if operation.duration >= 0.05 else ""
    return f"{operation.status.value.replace('_', ' '):<12} {one_line(operation.name)}{where}{took}"


def _output_lines(output: CommandOutput) -> Iterator[str]:
    yield f"$ {one_line(output.command)}"
    yield from clean(output.stdout).splitlines()
    yield from clean(output.stderr).splitlines()
    if output.exit_code:
        yield f"exit code {output.exit_code}"
    if output.detail:
        yield one_line(output.detail)


def records(command: Command, result: HostResult | None) -> Iterator[dict[str, Any]]:
    """A command's log as data, one record a shell command."""
    for operation in result.operations if result else ():
        for output in operation.commands:
            yield {
                "instance": command.instance,
                "event": command.type.value,
                "operation": operation.name,
                "command": output.command,
                "exit_code": output.exit_code,
                "duration": round(output.duration, 3),
                "stdout": output.stdout,
                "stderr": output.stderr,
            }
