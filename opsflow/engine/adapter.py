"""pyinfra as a pure function: the only place that knows how pyinfra is made inside.

pyinfra's executor is not used. Its state, host and operations are, with a connector that does no I/O: a fact is
answered from what is known, or the plan stops with the facts that are missing.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pyinfra.api.host as pyinfra_host
import pyinfra.local as pyinfra_local
import pyinfra.operations.util.files as pyinfra_files
from pyinfra import logger as pyinfra_logger
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.host import Host, HostData
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateOperationHostData
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_inventory, ctx_state

from opsflow.engine.messages import FactAnswer
from opsflow.engine.passwords import Passwords
from opsflow.engine.passwords import problem as password_problem
from opsflow.engine.render import rendered
from opsflow.engine.steady import pin_clock

REFUSED_ARGUMENTS: Mapping[str, str] = {
    "_get_pty": "a terminal would mix standard output and error; where a program insists on one, use script(1)",
    "_run_once": "an event runs on one instance at a time; pick the instance in the recipe: if node.name == ...",
    "_serial": "use opsflow run --serial",
    "_parallel": "use opsflow run --serial",
}
"""Global arguments of pyinfra that are refused by name, with the way out."""

REFUSED_OPERATIONS: Mapping[str, str] = {
    "files.rsync": "it would run rsync on this machine with keys of its own; use files.sync, or deploy an app",
}
"""Operations of pyinfra that are refused by name, with the way out."""

ASSIGNMENT = re.compile("[ugoa]*=[rwx]*")
"""A clause of a symbolic mode after which nothing is left of what was."""

TIMES = frozenset({"atime", "mtime"})
"""Arguments with which an operation looks at the times of files."""
ARGUMENT = 40
"""Characters shown of one argument of an operation without a name."""


class Stop(BaseException):
    """Ends the planning of one operation. Not an Exception, so that recipes and operations do not swallow it."""


class Missing(Stop):
    """A fact has no answer yet."""


class NeedsResults(Stop):
    """Something reads the result of an operation that has not really run."""


class FactFailed(Stop):
    """A fact's command failed on the host; the message is pyinfra's."""


class Refused(Stop):
    """A global argument or an operation that opsflow does not support."""


class NotYet(CommandOutput):
    """The output of an operation that is only assumed to have run."""

    def __init__(self) -> None:
        super().__init__([])

    @property
    def stdout_lines(self) -> list[str]:
        """Reading it needs real results."""
        raise NeedsResults

    @property
    def stderr_lines(self) -> list[str]:
        """Reading it needs real results."""
        raise NeedsResults


class OutputLost(CommandOutput):
    """The output of an operation of which nobody heard all."""

    @property
    def stdout_lines(self) -> list[str]:
        """Nothing may be decided by a part of it."""
        raise Refused("this output is not known: the connection was lost, or the controller died, while it was printed")

    @property
    def stderr_lines(self) -> list[str]:
        """Nothing may be decided by a part of it."""
        return self.stdout_lines


@dataclass(slots=True)
class Registered:
    """One operation, as the recipe called it."""

    hash: str
    name: str
    operation: str
    recipe: str
    file: str
    line: int
    directory: str
    data: StateOperationHostData
    title: str
    """Its name as pyinfra has it, without arguments."""
    timed: bool = True
    """It may look at the times of files."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Pyinfra's global arguments of the operation."""
        return self.data.global_arguments


class PlanConnector(BaseConnector):
    """Answers facts through a callback; never connects."""

    def __init__(self, state: State, host: Host, answer: Callable[[str], FactAnswer]) -> None:
        super().__init__(state, host)
        self._answer = answer

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Not an inventory source."""
        yield name, {}, []

    def run_shell_command(
        self, command: StringCommand | str, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Answer the fact whose shell command this is."""
        refuse_arguments(arguments)
        answer = self._answer(rendered(command, passwords_of(self.state).named(arguments)))
        lines = [OutputLine("stdout", line) for line in _lines(answer.stdout)]
        lines += [OutputLine("stderr", line) for line in _lines(answer.stderr)]
        codes = arguments.get("_success_exit_codes") or (0,)
        return answer.exit_code in codes, CommandOutput(lines)

    def put_file(self, *args: Any, **kwargs: Any) -> bool:
        """Uploads are steps of the plan; nothing may upload while planning."""
        raise Refused("uploading a file outside an operation is not supported")

    def get_file(self, *args: Any, **kwargs: Any) -> bool:
        """Downloads are not supported."""
        raise Refused("downloading a file is not supported")


class PlanState(State):
    """A pyinfra state of one host that notes who registered each operation."""

    def __init__(self, inventory: Inventory, config: Config, roots: tuple[str, ...]) -> None:
        self.registered: list[Registered] = []
        self.passwords = Passwords()
        self.calling = False
        """A function of the recipe is being called."""
        self.recipe = ""
        self.directory: str | None = None
        self.fact_error = ""
        self._roots = roots
        super().__init__(inventory, config, check_for_changes=False)

    @property
    def cwd(self) -> str | None:
        """Relative template and file names are relative to the directory of the recipe that uses them."""
        return self.directory

    @cwd.setter
    def cwd(self, value: str | None) -> None:
        self.directory = value

    def set_op_data_for_host(self, host: Host, op_hash: str, op_data: StateOperationHostData) -> None:
        """Note the operation, its name and the line of the recipe that called it."""
        if self.is_executing:
            raise Refused(
                "an operation inside a function or another operation is not supported; "
                "put it after it, with _if, or yield from its _inner"
            )
        super().set_op_data_for_host(host, op_hash, op_data)
        # The only way to know the line.
        file, line, operation, timed = _caller(sys._getframe(1), self._roots)  # noqa: SLF001
        if operation in REFUSED_OPERATIONS:
            raise Refused(f"{operation} is not supported: {REFUSED_OPERATIONS[operation]}")
        meta = self.get_op_meta(op_hash)
        refuse_arguments({**op_data.global_arguments, **meta.global_arguments}, self.config)
        self.passwords.named(op_data.global_arguments)  # in the order of the operations, whichever runs first
        name = _name(next(iter(meta.names)), meta.args)
        directory = str(Path(file).parent) if file else self._roots[0]
        title = ", ".join(meta.names)
        self.registered.append(
            Registered(op_hash, name, operation, self.recipe, file, line, directory, op_data, title, timed)
        )

    def fail_hosts(self, hosts_to_fail: set[Host], activated_count: int | None = None) -> None:
        """A fact could not be loaded: that is the end of the operation that reads it."""
        raise FactFailed("; ".join(dict.fromkeys(captured_warnings())) or "a fact could not be loaded")


def _name(name: str, arguments: Sequence[str]) -> str:
    """The operation's name; one without a name of its own is told apart by its arguments, as pyinfra does."""
    if not arguments:
        return name
    # An address in memory is another one in each process.
    shown = [re.sub(r" at 0x[0-9a-f]+", "", " ".join(each.split())) for each in arguments]
    return f"{name} ({', '.join(each if len(each) <= ARGUMENT else f'{each[:ARGUMENT]}...' for each in shown)})"


def refuse_local_commands() -> None:
    """Commands on the controller would run each time that a plan is made."""

    def refused(*_: Any, **__: Any) -> Any:
        raise Refused(
            "local.shell and local.include are not supported: recipes only describe operations; "
            "read a file beside the recipe instead"
        )

    pyinfra_local.shell = pyinfra_local.include = refused


def refuse_arguments(arguments: Mapping[str, Any], config: Config | None = None) -> None:
    """Raise Refused for a global argument that is set and not supported."""
    for key, way_out in REFUSED_ARGUMENTS.items():
        value = arguments.get(key)
        if value and not (key == "_parallel" and config is not None and value == config.PARALLEL):
            raise Refused(f"the argument {key} is not supported: {way_out}")
    why = password_problem(arguments)
    if why:
        raise Refused(why)


def passwords_of(state: State) -> Passwords:
    """The passwords of a plan's state."""
    return state.passwords if isinstance(state, PlanState) else Passwords()


def _caller(frame: FrameType | None, roots: tuple[str, ...]) -> tuple[str, int, str, bool]:
    """File and line of the innermost recipe frame, the operation's name, and whether it sets times of files."""
    operation, timed = "", False
    while frame is not None:
        if not operation and frame.f_code.co_name == "decorated_func" and "func" in frame.f_locals:
            function = frame.f_locals["func"]
            operation = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
            timed = not TIMES.isdisjoint(frame.f_locals.get("kwargs", ()))
            if not function.__module__.startswith("pyinfra.operations."):
                timed = True  # of somebody else: it may look at them
        if frame.f_code.co_filename.startswith(roots):
            return frame.f_code.co_filename, frame.f_lineno, operation, timed
        frame = frame.f_back
    return "", 0, operation, timed


@dataclass
class _Warnings(logging.Handler):
    """Keeps what pyinfra would print, for error messages."""

    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().strip())

    def __hash__(self) -> int:
        return id(self)


_warnings = _Warnings()


def captured_warnings() -> list[str]:
    """What pyinfra warned about since the last call."""
    lines, _warnings.lines = _warnings.lines, []
    return lines


class _Data(HostData):
    """pyinfra's host data, which each operation and fact asks for 32 global arguments that are nearly never there."""

    def __init__(self, host: Host, given: Mapping[str, Any]) -> None:
        super().__init__(host, *host.data.datas[1:])
        self.__dict__["given"] = frozenset(given)

    def __getattr__(self, key: str) -> Any:
        if key not in self.given and key not in self.override_datas and key not in self.host.get_deploy_data():
            raise AttributeError(f"Host `{self.host}` has no data `{key}`")
        return super().__getattr__(key)


def make_state(name: str, groups: tuple[str, ...], data: Mapping[str, Any], roots: tuple[str, ...]) -> PlanState:
    """A fresh pyinfra state with one host; the node's attributes are its host data and its layers its groups."""
    pyinfra_logger.handlers = [_warnings]
    pyinfra_logger.propagate = False
    members: dict[str, Any] = {group: ([name], {}) for group in groups}
    inventory = Inventory(  # type: ignore[no-untyped-call]
        ([(name, dict(data))], {}), **members
    )
    config = Config(PARALLEL=1)  # type: ignore[no-untyped-call]
    for host in inventory:
        host.data = _Data(host, data)
    return PlanState(inventory, config, roots)


def enter(state: PlanState) -> None:
    """Make it the state of this process, as pyinfra's operations and facts expect."""
    ctx_state.set(state)  # type: ignore[no-untyped-call]
    ctx_inventory.set(state.inventory)  # type: ignore[no-untyped-call]


def pin_time_and_ids(moment: datetime, seed: str) -> str:
    """Make pyinfra's generators deterministic: the clock is the run's time, random names come from a counter.

    Returns:
        What names of backup files end with.
    """
    counter = iter(range(1 << 30))

    def named() -> uuid.UUID:
        return uuid.UUID(hashlib.sha256(f"{seed}:{next(counter)}".encode()).hexdigest()[:32])

    stamp = moment.astimezone().strftime("%y%m%d%H%M")
    pin_clock(moment)
    # Asked for by operations that then do not use it: a plan depends on it when its commands contain it.
    pyinfra_files.get_timestamp = lambda: stamp
    pyinfra_host.uuid4 = named  # type: ignore[attr-defined]
    return stamp


def sets_mode(operation: Registered) -> bool:
    """Whether the operation gives its file a whole mode after it has written it.

    With True it may give none, with 0 it gives none, and what `+x` leads to depends on the mode that the file had.
    """
    generator = operation.data.command_generator
    cells = dict(zip(generator.__code__.co_freevars, generator.__closure__ or (), strict=True))
    named = cells["kwargs"].cell_contents if "kwargs" in cells else {}
    return _is_whole(named.get("mode"))


def _is_whole(mode: object) -> bool:
    """Whether all permissions follow from it: octal digits, or an assignment for user, group and others."""
    digits = str(mode).strip().lower().removeprefix("0o")
    if digits.isdigit():
        return int(digits) > 0
    clauses = str(mode).split(",")
    if not all(ASSIGNMENT.fullmatch(clause) for clause in clauses):
        return False
    who = "".join(clause.partition("=")[0] or "a" for clause in clauses)
    return "a" in who or {*"ugo"} <= {*who}


def connector_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The global arguments that shape a shell command."""
    return {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []
