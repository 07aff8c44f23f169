"""What of a record is free text, and may repeat a secret.

Names, keys, tokens and paths are left alone: records are found by them, whatever the secrets of a stack look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opsflow.model.command import Command, Run
from opsflow.model.result import CommandOutput, HostResult, OperationResult
from opsflow.model.state import InstanceState

Clean = Callable[[str], str]
"""Text -> the text without secrets."""
_TEXTS = frozenset({"reason", "failures"})
"""Journal data that holds words, not identifiers."""


def clean_state(state: InstanceState, clean: Clean) -> InstanceState:
    """The record of an instance without secrets."""
    return state.model_copy(update={"reason": clean(state.reason)})


def clean_run(run: Run, clean: Clean) -> Run:
    """A run without secrets; what was asked for is kept without them from the start."""
    return run.model_copy(update={"comment": clean(run.comment), "detail": clean(run.detail)})


def clean_command(command: Command, clean: Clean) -> Command:
    """A command without secrets."""
    return command.model_copy(update={"reason": clean(command.reason), "detail": clean(command.detail)})


def clean_result(result: HostResult, clean: Clean) -> HostResult:
    """The result of a run list without secrets."""
    operations = tuple(_clean_operation(operation, clean) for operation in result.operations)
    texts = {"detail": clean(result.detail), "error": clean(result.error), "resumed": clean(result.resumed)}
    return result.model_copy(update={**texts, "operations": operations})


def _clean_operation(operation: OperationResult, clean: Clean) -> OperationResult:
    commands = tuple(_clean_output(output, clean) for output in operation.commands)
    texts = {name: clean(getattr(operation, name)) for name in ("name", "diff", "detail")}
    return operation.model_copy(update={**texts, "commands": commands})


def _clean_output(output: CommandOutput, clean: Clean) -> CommandOutput:
    texts = ("command", "stdout", "stderr", "detail")
    return output.model_copy(update={name: clean(getattr(output, name)) for name in texts})


def clean_data(data: Mapping[str, Any], clean: Clean) -> dict[str, Any]:
    """The data of a journal entry without secrets."""
    return {key: clean_values(value, clean) if key in _TEXTS else value for key, value in data.items()}


def clean_values(value: Any, clean: Clean) -> Any:
    """JSON-like data with every text in it clean; its keys stay."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {key: clean_values(item, clean) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_values(item, clean) for item in value]
    return value
