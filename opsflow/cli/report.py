"""What is known about stacks and runs, as plain data: the shape of the JSON output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsflow.model.command import Command, Run
    from opsflow.model.journal import JournalEntry
    from opsflow.model.result import HostResult, OperationResult
    from opsflow.model.stack import Stack
    from opsflow.model.state import Deployed, InstanceState, StackState

NOT_CREATED = "not created"


def status(stack: Stack, state: StackState, unseen: str = "") -> dict[str, Any]:
    """A stack: the instances that are declared, then those that exist though they are not declared any more.

    ``unseen`` says why its machines could not be looked at: then this is what opsflow knew last.
    """
    names = _names(stack, state)
    return {
        "stack": stack.name,
        "instances": [_instance(stack, name, state.instances.get(name)) for name in names],
        "apps": [_app(stack, name, state) for name in _app_names(stack, state)],
        "note": f"as recorded; the machines could not be looked at: {unseen}" if unseen else "",
    }


def _names(stack: Stack, state: StackState) -> list[str]:
    return [*stack.members, *(name for name in state.instances if name not in stack.members)]


def _instance(stack: Stack, name: str, state: InstanceState | None) -> dict[str, Any]:
    declared = stack.members.get(name)
    layers = declared.layers if declared else state.layers if state else ()
    machine = state.machine if state else None
    note = "" if declared else "not in the stack file any more"
    if state is None or (machine is None and state.status == "stopped" and not state.reason):
        note = NOT_CREATED
    return {
        "name": name,
        "layers": list(layers),
        "status": state.status.value if state else "stopped",
        "address": machine.address if machine else None,
        "runs": declared.runs if declared else state.runs if state else "always",
        "reason": state.reason if state else "",
        "note": note,
        "declared": declared is not None,
        "machine": machine.id if machine else None,
        "private_address": machine.private_address if machine else None,
        "public_address": machine.public_address if machine else None,
        "apps": {app: _deployed(deployed) for app, deployed in (state.apps if state else {}).items()},
        "online_since": _time(state.online_since) if state else None,
    }


def _app_names(stack: Stack, state: StackState) -> list[str]:
    deployed = (app for instance in state.instances.values() for app in instance.apps)
    return list(dict.fromkeys((*stack.apps, *deployed)))


def _app(stack: Stack, name: str, state: StackState) -> dict[str, Any]:
    app = stack.apps.get(name)
    where = [
        {"instance": instance, **_deployed(state.instances[instance].apps[name])}
        for instance in _names(stack, state)
        if instance in state.instances and name in state.instances[instance].apps
    ]
    return {
        "name": name,
        "layers": list(app.layers) if app else [],
        "source": {"kind": app.source.kind, "location": app.source.location} if app else None,
        "declared": app is not None,
        "deployed": where,
    }


def _deployed(deployed: Deployed) -> dict[str, Any]:
    return {"revision": deployed.revision, "release": deployed.release, "at": _time(deployed.at)}


def run_line(run: Run) -> dict[str, Any]:
    """A run, without what it did."""
    return {
        "id": run.id,
        "stack": run.stack,
        "action": run.action,
        "status": run.status.value,
        "actor": run.actor,
        "comment": run.comment,
        "detail": run.detail,
        "request": dict(run.request),
        "created_at": _time(run.created_at),
        "completed_at": _time(run.completed_at),
        "seconds": _seconds(run),
    }


def run(found: Run, commands: Iterable[Command], results: Mapping[str, HostResult | None]) -> dict[str, Any]:
    """A run with its commands, one entry an instance and event."""
    entries = [_command(command, results.get(command.id)) for command in commands]
    return {**run_line(found), "instances": entries}


def _command(command: Command, result: HostResult | None) -> dict[str, Any]:
    return {
        "name": command.instance,
        "command": command.id,
        "event": command.type.value,
        "status": command.status.value,
        "reason": command.reason,
        "detail": command.detail or (result.detail if result else ""),
        "exit_code": command.exit_code,
        "recipes": list(command.recipes),
        "apps": list(command.apps),
        "created_at": _time(command.created_at),
        "completed_at": _time(command.completed_at),
        "seconds": _seconds(command),
        "operations": [operation(found) for found in (result.operations if result else ())],
        "error": result.error if result else "",
    }


def operation(found: OperationResult) -> dict[str, Any]:
    """One operation of a command."""
    return {
        "name": found.name,
        "operation": found.operation,
        "recipe": found.recipe,
        "file": found.file,
        "line": found.line,
        "status": found.status.value,
        "changed": found.changed,
        "duration": round(found.duration, 3),
        "exit_code": found.exit_code,
        "stdout": "".join(output.stdout for output in found.commands),
        "stderr": "".join(output.stderr for output in found.commands),
        "diff": found.diff,
    }


def entry(found: JournalEntry) -> dict[str, Any]:
    """A journal entry."""
    return {
        "id": found.id,
        "at": _time(found.at),
        "stack": found.stack,
        "kind": found.kind,
        "message": found.message,
        "run": found.run,
        "command": found.command,
        "instance": found.instance,
        "data": dict(found.data),
    }


def _time(at: Any) -> str | None:
    return None if at is None else str(at.isoformat(timespec="milliseconds"))


def _seconds(found: Run | Command) -> float | None:
    if found.completed_at is None:
        return None
    return round((found.completed_at - found.created_at).total_seconds(), 3)
