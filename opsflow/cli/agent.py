"""agent: the process that keeps connections and plans between two calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions, values
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Output, command, commands
from opsflow.cli.text import duration
from opsflow.errors import ExitCode

if TYPE_CHECKING:
    from opsflow.engine.agent.start import Agents, Found

app = commands()
StackOption = Annotated[
    str | None,
    typer.Argument(metavar="STACK", autocompletion=completions.stacks, help="Default: every stack of the project."),
]


@app.callback()
def agent() -> None:
    """Start, show and stop the process that keeps connections and plans between two calls.

    There is one for the recipes of a project. It is started by --warm, used by every command while it runs, and ends
    when nobody needed it for ten minutes.
    """


@command(app)
def start(
    invocation: Invocation,
    output: Output,
    stack: StackOption = None,
    idle: Annotated[
        str | None, typer.Option("--idle", metavar="TIME", help="End it after this time without work, e.g. 30m.")
    ] = None,
) -> int:
    """Start the agent, unless it runs already; also OPSFLOW_AGENT_IDLE=SECONDS."""
    seconds = None if idle is None else values.limit("--idle", idle)
    states = []
    for stacks, agents in _agents(invocation, stack):
        with closing(agents.start(seconds).socket) as sock:
            states.append({"stacks": stacks, **_ask(sock)})
    return _show(invocation, output, states)


@command(app)
def status(invocation: Invocation, output: Output, stack: StackOption = None) -> int:
    """Show the agent: its pid, its connections, for how long nobody needed it. Exits with 1 when there is none.

    PREPARED is the pid of the process beside it that has imported everything already and forks for each warm command.
    """
    states = []
    for stacks, agents in _agents(invocation, stack):
        if found := agents.running():
            with closing(found.socket) as sock:
                states.append({"stacks": stacks, **_ask(sock)})
    _show(invocation, output, states)
    return ExitCode.OK if states else ExitCode.FAILED


@command(app)
def stop(invocation: Invocation, output: Output, stack: StackOption = None) -> int:
    """End the agent; what it is doing for others is cancelled. Nothing to do where none runs."""
    stopped = []
    for stacks, agents in _agents(invocation, stack):
        if found := agents.running():
            _end(found)
            stopped.append({"stacks": stacks, **{key: found.hello[key] for key in ("pid", "prepared_pid")}})
    lines = [f"stopped the agent of {', '.join(each['stacks'])} (pid {each['pid']})" for each in stopped]
    invocation.terminal.emit({"stopped": stopped}, output.format, lines)
    if not stopped:
        invocation.terminal.note("No agent runs.")
    return ExitCode.OK


def _agents(invocation: Invocation, stack: str | None) -> Iterator[tuple[list[str], Agents]]:
    """Each agent that the stacks may have, with the stacks that share it."""
    sharing: dict[tuple[str, ...], tuple[list[str], Agents]] = {}
    for name in [stack] if stack else invocation.project.stacks():
        loaded = invocation.load(name).stack
        paths = tuple(str(path.resolve()) for path in invocation.project.recipe_paths(loaded))
        stacks, _ = sharing.setdefault(paths, ([], invocation.project.agents(loaded)))
        stacks.append(loaded.name)
    yield from sharing.values()


def _ask(sock: Any) -> dict[str, Any]:
    from opsflow.engine.agent import wire

    wire.send(sock, [wire.text("status")])
    ((_, state),) = wire.receive(sock)
    return dict(state)


def _end(found: Found) -> None:
    """Tell it to end, and wait until it has."""
    from opsflow.engine.agent import wire

    with closing(found.socket) as sock, suppress(wire.Gone):
        wire.send(sock, [wire.text("stop")])
        while True:
            wire.receive(sock)


def _show(invocation: Invocation, output: Output, states: list[dict[str, Any]]) -> int:
    rows = [
        (
            state["pid"],
            state["prepared_pid"] or "-",
            ", ".join(state["stacks"]),
            f"{state['calls']} calls" if state["calls"] else duration(state["idle_seconds"]),
            duration(state["ends_after"]),
            state["connections"]["idle"] + state["connections"]["used"],
        )
        for state in states
    ]
    headings = ("PID", "PREPARED", "STACKS", "IDLE", "ENDS AFTER", "CONNECTIONS")
    lines = invocation.terminal.table(headings, rows, right=("PID", "PREPARED", "CONNECTIONS")) if rows else []
    invocation.terminal.emit({"agents": states}, output.format, lines)
    if not rows:
        invocation.terminal.note("No agent runs; --warm starts one.")
    return ExitCode.OK
