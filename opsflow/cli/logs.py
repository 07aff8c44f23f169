"""The output of a command's operations as lines, each with its instance in front."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from opsflow.cli.text import clean, cut, duration, from_here, one_line, width

if TYPE_CHECKING:
    from opsflow.cli.terminal import Terminal
    from opsflow.model.command import Command
    from opsflow.model.result import CommandOutput, HostResult, OperationResult

SHORTEST_NAME = 16
"""Columns of an operation's name that are worth more than the folder of its file."""


def lines(terminal: Terminal, command: Command, result: HostResult | None) -> Iterator[str]:
    """A command's log for people."""
    prefix = terminal.paint(f"[{command.instance}]", "cyan", data=True)
    recipes = ", ".join(command.recipes) or "no recipes"
    yield f"{prefix} {command.type}: {recipes}: {command.status}" + (f" ({command.reason})" if command.reason else "")
    for operation in result.operations if result else ():
        yield f"{prefix} {describe(operation)}"
        if operation.detail:
            yield f"{prefix}   {one_line(operation.detail)}"
        for output in operation.commands:
            for line in _output_lines(output):
                yield f"{prefix}   {line}"
        for line in clean(operation.diff).splitlines():
            yield f"{prefix}   {line}"
    text = (result.error if result else "") or command.detail
    for line in clean(text).splitlines():
        yield f"{prefix} {line}"


def describe(operation: OperationResult, columns: int | None = None) -> str:
    """One operation on one line; where ``columns`` are few, its name is cut, then the path of its file."""
    status, name = f"{operation.status.value.replace('_', ' '):<12}", one_line(operation.name)
    where = f" ({from_here(operation.file)}:{operation.line})" if operation.file else ""
    took = f" {duration(operation.duration)}" if operation.duration >= 0.05 else ""
    if columns is not None:
        left = columns - width(status) - 1 - width(took)
        if operation.file and left - width(where) < min(width(name), SHORTEST_NAME):
            where = f" ({PurePath(operation.file).name}:{operation.line})"
        name = cut(name, max(0, left - width(where)))
    return cut(f"{status} {name}{where}{took}", columns)


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
