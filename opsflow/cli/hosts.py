"""ssh, exec, facts: hands on the machines."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions, values
from opsflow.cli.carry_out import targets_of
from opsflow.cli.formats import Format
from opsflow.cli.interrupt import Interruptible
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import StackArgument
from opsflow.cli.options import Output, TargetOptions, command, commands
from opsflow.cli.progress import OutputLines
from opsflow.cli.sshclient import arguments
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import clean, one_line
from opsflow.cli.values import suggestion
from opsflow.errors import ExitCode, OpsflowError, UsageError
from opsflow.ports import OutputReceived

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.model.machine import Machine
    from opsflow.model.state import StackState
    from opsflow.ports import Engine

app = commands()
AT_ONCE = 50
KEPT = 10_000_000
"""Bytes of a host's output that are kept until the end, for --json."""
DEFAULT_FACTS = ("server.Hostname", "server.Os", "server.Kernel", "server.KernelVersion", "server.Arch")


@command(app, "ssh")
def ssh(
    invocation: Invocation,
    stack: StackArgument,
    instance: Annotated[
        str, typer.Argument(metavar="INSTANCE", autocompletion=completions.instances, help="Which one.")
    ],
    remote: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="After --: run this instead of a login shell."),
    ] = None,
) -> int:
    """Open a shell on an instance with the system's ssh; its host key is the recorded one, or it is refused."""
    loaded = invocation.load(stack)
    machines = _machines(invocation, loaded)
    if instance not in machines:
        hint = suggestion(instance, machines) or "opsflow up makes the machines"
        raise UsageError(f"stack '{loaded.stack.name}' has no running machine '{one_line(instance)}'", hint=hint)
    if why := _other_machines(invocation, loaded).get(instance):
        raise UsageError(f"{instance}: {why}")
    known_hosts = invocation.project.private("ssh") / f"{loaded.stack.name}-{instance}"
    settings = invocation.project.context(loaded).ssh
    argv = arguments(machines[instance], settings, known_hosts, _shell_command(remote or []))
    if invocation.verbose:
        invocation.terminal.note(f"+ {shlex.join(argv)}")
    try:
        os.execvp(argv[0], argv)  # noqa: S606  the user's own ssh client takes the terminal over
    except FileNotFoundError:
        raise UsageError("there is no ssh on this machine", hint="apt install openssh-client") from None


def _machines(invocation: Invocation, loaded: LoadedStack) -> dict[str, Machine]:
    """The machines that are there to be reached, whatever the status of their instances."""
    with invocation.project.reader() as store:
        state = store.state(loaded.stack.name)
    machines = {name: found.machine for name, found in state.instances.items() if found.machine}
    ordered = [*(name for name in loaded.stack.members if name in machines), *machines]
    return {name: machines[name] for name in dict.fromkeys(ordered) if machines[name].address}


def _other_machines(invocation: Invocation, loaded: LoadedStack) -> dict[str, str]:
    """The instances whose machine is not the one that was set up, with why and what to do."""
    with invocation.project.reader() as store:
        found = invocation.project.other_machines(loaded, store.state(loaded.stack.name))
    return {name: f"{why}; 'opsflow up {loaded.stack.name}' sets it up" for name, why in found.items()}


def _shell_command(words: Sequence[str]) -> str:
    """One word is a shell command as it is; several are one command and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


@command(app, "exec")
def exec_(
    invocation: Invocation,
    output: Output,
    targets: TargetOptions,
    stack: StackArgument,
    remote: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND", help="After --. One word: a shell command. Several: a command, its arguments."
        ),
    ],
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="Time limit on each, e.g. 90 or 10m.")
    ] = "10m",
) -> int:
    """Run a shell command on instances, in parallel: on the online ones, or on those that are named.

    Each line has its instance in front. Exits with 1 when it failed anywhere, with 69 when it only could not reach
    some.
    """
    loaded = invocation.load(stack)
    machines, terminal = _chosen(invocation, loaded, targets), invocation.terminal
    text, limit = _shell_command(remote), values.limit("--timeout", timeout)
    plain, settings = output.format is Format.TABLE, invocation.project.context(loaded).ssh
    interruptible = Interruptible(terminal)

    def one(engine: Engine, name: str) -> dict[str, Any]:
        printer = _Printer(terminal, name, max(map(len, machines)), show=plain)
        with closing(printer):
            code = engine.exec(
                machines[name], settings, text, timeout=limit, output=printer.add, cancel=interruptible.cancel
            )
        kept = {stream: printer.text(stream) for stream in ("stdout", "stderr")}
        return {"name": name, "exit_code": code, **kept, "cut": printer.cut}

    with interruptible:
        results = _everywhere(invocation, loaded, machines, one)
    if not plain:
        terminal.emit({"command": text, "instances": results}, output.format)
    for result in results:
        if result.get("cut"):
            terminal.note(f"[{result['name']}] printed more than {KEPT} bytes; what came after that was dropped")
        if result.get("error") or result["exit_code"]:
            why = result.get("error") or f"exit code {result['exit_code']}"
            terminal.note(terminal.paint(f"[{result['name']}] {one_line(str(why))}", "red"))
    return ExitCode.INTERRUPTED if interruptible.cancel.is_set() else _exit_code(results)


def _exit_code(results: Sequence[Mapping[str, Any]]) -> int:
    if any(result.get("exit_code") for result in results):
        return ExitCode.FAILED
    codes = {result["error_code"] for result in results if result.get("error")}
    if not codes:
        return ExitCode.OK
    return ExitCode.UNREACHABLE if codes == {ExitCode.UNREACHABLE} else ExitCode.FAILED


class _Printer:
    """Prints what one instance says, line by line with its name in front, and keeps it."""

    def __init__(self, terminal: Terminal, name: str, longest: int, *, show: bool) -> None:
        self._terminal = terminal
        self._name = name
        self._prefix = f"{terminal.paint(f'[{name}]', 'cyan', data=True)}{' ' * (longest - len(name))} "
        self._lines = OutputLines()
        self._kept: dict[str, bytearray] = {}
        self._left = KEPT
        self.cut = False
        self._show = show

    def add(self, stream: str, data: bytes) -> None:
        """Bytes from stdout or stderr as they arrive."""
        if not self._show:
            self._kept.setdefault(stream, bytearray()).extend(data[: self._left])
            self.cut = self.cut or len(data) > self._left
            self._left = max(0, self._left - len(data))
            return
        for line in self._lines.add(OutputReceived(self._name, 0, stream, data)):
            self._terminal.data(self._prefix + line)

    def close(self) -> None:
        """Print what has no newline at its end."""
        for line in self._lines.rest(self._name):
            self._terminal.data(self._prefix + line)

    def text(self, stream: str) -> str:
        """What was kept."""
        return bytes(self._kept.get(stream, b"")).decode(errors="backslashreplace")


@command(app)
def facts(
    invocation: Invocation,
    output: Output,
    targets: TargetOptions,
    stack: StackArgument,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="FACT", help="Such as server.Os; default: a few of the machine.")
    ] = None,
) -> int:
    """Read facts of machines, as recipes get them."""
    loaded = invocation.load(stack)
    machines = _chosen(invocation, loaded, targets)
    wanted, settings = tuple(names or DEFAULT_FACTS), invocation.project.context(loaded).ssh

    def one(engine: Engine, name: str) -> dict[str, Any]:
        return {"name": name, "facts": dict(engine.facts(machines[name], settings, wanted))}

    results = _everywhere(invocation, loaded, machines, one)
    rows = [(result["name"], *(_short(result.get("facts", {}).get(fact)) for fact in wanted)) for result in results]
    invocation.terminal.emit(
        {"stack": loaded.stack.name, "instances": results},
        output.format,
        invocation.terminal.table(("INSTANCE", *wanted), rows),
    )
    for result in results:
        if result.get("error"):
            invocation.terminal.note(f"[{result['name']}] {clean(str(result['error']))}")
    return _exit_code(results)


def _short(value: object) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        return "-" if value is None else str(value)
    import json

    return json.dumps(value, default=str)


def _chosen(invocation: Invocation, loaded: LoadedStack, options: TargetOptions) -> dict[str, Machine]:
    """The machines that are meant: the online ones, or whatever is named and has an address.

    Raises:
        UsageError: nothing is selected.
    """
    from opsflow.lifecycle.reach import Candidate, select
    from opsflow.model.state import InstanceStatus

    machines, targets = _machines(invocation, loaded), targets_of(options)
    with invocation.project.reader() as store:
        state: StackState = store.state(loaded.stack.name)
    candidates = [Candidate(name, state.instances[name].layers, state.instances[name].status) for name in machines]
    if not candidates:
        raise UsageError(f"stack '{loaded.stack.name}' has no machines yet", hint="opsflow up makes them")
    online = {InstanceStatus.ONLINE} & {candidate.status for candidate in candidates}
    statuses = set(InstanceStatus) if targets.only or not online else online
    names = select(candidates, targets, statuses, layers=loaded.stack.layers, doing="reached")
    return {name: machines[name] for name in names}


def _everywhere(
    invocation: Invocation,
    loaded: LoadedStack,
    machines: Mapping[str, Machine],
    one: Callable[[Engine, str], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Do ``one`` on every machine in parallel; a usage error ends it, any other error is that instance's result.

    A machine that is not the one that was set up is left alone.
    """
    others = _other_machines(invocation, loaded)

    def guarded(engine: Engine, name: str) -> dict[str, Any]:
        if name in others:
            return {"name": name, "exit_code": None, "error": others[name], "error_code": int(ExitCode.FAILED)}
        try:
            return one(engine, name)
        except UsageError:
            raise
        except OpsflowError as error:
            return {"name": name, "exit_code": None, "error": error.message, "error_code": int(error.exit_code)}

    with invocation.project.engine(loaded.stack) as engine, ThreadPoolExecutor(min(AT_ONCE, len(machines))) as pool:
        return list(pool.map(lambda name: guarded(engine, name), machines))
