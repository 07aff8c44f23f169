"""Jobs, events, results and errors as JSON and back. Everything keeps its meaning, and nothing is sent twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from opsflow import errors
from opsflow.errors import ConfigError, OpsflowError, Problem, RecipeError
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult, OperationResult
from opsflow.model.snapshot import MemberSnapshot, NodeSnapshot
from opsflow.ports import HostEvent, HostJob, Mode, OperationEnded, OperationStarted, OutputReceived, PhaseChanged

Members = tuple[MemberSnapshot, ...]

PLAIN = tuple({field.name for field in fields(HostJob)} - {"machine", "ssh", "node", "timeouts"})
"""The fields of a job that are plain JSON."""

_members = TypeAdapter(Members)

# ------------------------------------------------------------------------------------------------ jobs


class MembersSent:
    """The members that the other side has: the jobs of a run share them, so they are sent once."""

    def __init__(self, send: Callable[[str, str], None]) -> None:
        self._send = send
        self._sent: set[str] = set()
        self._last: Members = ()
        self._same: tuple[int, ...] = ()
        self._digest = ""

    def digest(self, members: Members) -> str:
        """The name of these members on the other side; they are sent when they are new. Not for several threads."""
        same = tuple(map(id, members))
        if same != self._same or not self._digest:
            content = _members.dump_json(members)
            self._digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            self._last, self._same = members, same  # kept, so that their ids stay theirs
            if self._digest not in self._sent:
                self._send(self._digest, content.decode())
                self._sent.add(self._digest)
        return self._digest


def members_from(data: Any) -> Members:
    """Members as they were sent."""
    return _members.validate_python(data)


def job_text(job: HostJob, members: str) -> str:
    """A job without its members, which have been sent under this name."""
    head = {"members": members, **{name: getattr(job, name) for name in PLAIN}}
    models = (absolute(job.machine), _absolute_key(job.ssh), job.timeouts)
    node = job.node.model_dump_json(exclude={"members"}, exclude_defaults=True)
    return f"[{json.dumps(head)},{','.join(model.model_dump_json() for model in models)},{node}]"


def job_from(data: Any, members: Mapping[str, Members]) -> HostJob:
    """The job of what :func:`job_text` made."""
    head, machine, ssh, timeouts, node = data
    members_name = head.pop("members")
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in head.items()}
    own = NodeSnapshot.model_validate({**node, "members": ()})
    return HostJob(
        machine=Machine.model_validate(machine),
        ssh=Ssh.model_validate(ssh),
        # Copied in, not validated: the jobs of a run share one tuple, and what depends on it is made once.
        node=own.model_copy(update={"members": members[members_name]}),
        timeouts=Timeouts.model_validate(timeouts),
        **{**plain, "mode": Mode(plain["mode"])},
    )


def host_text(machine: Machine, ssh: Ssh) -> str:
    """How a machine is reached."""
    return f"[{absolute(machine).model_dump_json()},{_absolute_key(ssh).model_dump_json()}]"


def host_from(data: Any) -> tuple[Machine, Ssh]:
    """The machine of what :func:`host_text` made."""
    machine, ssh = data
    return Machine.model_validate(machine), Ssh.model_validate(ssh)


def absolute(machine: Machine) -> Machine:
    """The machine with a key file that is the same one in every working directory."""
    if machine.key_file is None or machine.key_file.startswith(("/", "~")):
        return machine
    return machine.model_copy(update={"key_file": str(Path(machine.key_file).absolute())})


def _absolute_key(ssh: Ssh) -> Ssh:
    if ssh.key is None or ssh.key.startswith(("/", "~")):
        return ssh
    return ssh.model_copy(update={"key": str(Path(ssh.key).absolute())})


# ------------------------------------------------------------------------------------------------ events


class EventsOut:
    """The events of one run as JSON; remembers the operations that were told, so that the result need not."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}
        self._kept: list[OperationResult] = []

    def text(self, event: HostEvent) -> str:
        """One event."""
        match event:
            case PhaseChanged(phase=phase):
                return json.dumps(("p", phase))
            case OperationStarted(index=index, total=total, name=name):
                return json.dumps(("s", index, total, name))
            case OutputReceived(index=index, stream=stream, data=data):
                return output_text(stream, data, index)
            case OperationEnded(result=result):
                self._told[id(result)] = len(self._kept)
                self._kept.append(result)
                return f'["e",{_operation_text(result)}]'

    def result_text(self, result: HostResult) -> str:
        """The result; an operation that was told is only its number."""
        rest = result.model_dump_json(exclude={"operations"}, exclude_defaults=True)
        operations = (
            str(self._told[id(each)]) if id(each) in self._told else _operation_text(each) for each in result.operations
        )
        return f"{rest},[{','.join(operations)}]"


class EventsIn:
    """The other side of :class:`EventsOut`."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._told: list[OperationResult] = []

    def event(self, data: Any) -> HostEvent:
        """One event."""
        match data:
            case ["p", phase]:
                return PhaseChanged(self._instance, phase)
            case ["s", index, total, name]:
                return OperationStarted(self._instance, index, total, name)
            case ["o", stream, characters, index]:
                return OutputReceived(self._instance, index, stream, characters.encode("latin-1"))
        result = OperationResult.model_validate(data[1])
        self._told.append(result)
        return OperationEnded(self._instance, result)

    def result(self, rest: Any, operations: Sequence[Any]) -> HostResult:
        """The result."""
        found = [self._told[each] if isinstance(each, int) else each for each in operations]
        return HostResult.model_validate({**rest, "operations": found})


def output_text(stream: str, data: bytes, index: int = 0) -> str:
    """Output of a command; every byte is one character."""
    return json.dumps(("o", stream, data.decode("latin-1"), index), ensure_ascii=False)


def _operation_text(operation: OperationResult) -> str:
    return operation.model_dump_json(exclude_defaults=True)


# ------------------------------------------------------------------------------------------------ errors


def error_text(error: OpsflowError) -> str:
    """An error that a user may see."""
    problems = [asdict(problem) for problem in error.problems] if isinstance(error, ConfigError) else []
    return json.dumps((type(error).__name__, error.message, error.hint, problems))


def error_from(data: Any) -> OpsflowError:
    """The error of what :func:`error_text` made."""
    name, message, hint, problems = data
    kind = getattr(errors, name, OpsflowError)
    if issubclass(kind, ConfigError):
        return (RecipeError if kind is RecipeError else ConfigError)([Problem(**problem) for problem in problems])
    if kind in (errors.MissingExtra, errors.CannotRestart):  # they are made of something else
        kind = OpsflowError
    error: OpsflowError = kind(message, hint=hint)
    return error
