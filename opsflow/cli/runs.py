"""runs: what was asked for, what became of it, and again what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions, logs, report
from opsflow.cli import timing as timings
from opsflow.cli.events import INTERVAL, line
from opsflow.cli.formats import Format
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Output, Running, Streaming, command, commands
from opsflow.cli.terminal import Terminal, block
from opsflow.cli.text import duration, from_here, moment, one_line
from opsflow.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsflow.model.command import Command, Run
    from opsflow.model.result import HostResult
    from opsflow.ports import Store

app = commands()
RunArgument = Annotated[str, typer.Argument(metavar="ID", autocompletion=completions.run_ids, help="A run's number.")]


@app.callback()
def runs() -> None:
    """List, show and retry runs; read their logs."""


@command(app, "list")
def list_(
    invocation: Invocation,
    output: Output,
    stack: Annotated[
        str | None,
        typer.Argument(metavar="STACK", autocompletion=completions.stacks, help="Only this stack; default: all."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10000, help="The newest N.")] = 20,
) -> int:
    """List runs, newest first."""
    name = invocation.load(stack).stack.name if stack else None
    with invocation.project.reader() as store:
        found = store.runs(name, limit=limit)
    terminal = invocation.terminal
    rows = [_row(run) for run in found]
    headings = ("ID", "STACK", "ACTION", "STATUS", "STARTED (UTC)", "TOOK", "BY", "COMMENT")
    lines = terminal.table(headings, rows, right=("ID", "TOOK")) if rows else []
    terminal.emit([report.run_line(run) for run in found], output.format, lines)
    if not rows:
        terminal.note("No runs yet.")
    return ExitCode.OK


def _row(run: Run) -> Sequence[object]:
    seconds = (run.completed_at - run.created_at).total_seconds() if run.completed_at else None
    note = run.comment or run.detail
    return (
        run.id,
        run.stack,
        run.action,
        run.status,
        moment(run.created_at),
        duration(seconds),
        run.actor.partition(" pid ")[0],
        note,
    )


@command(app)
def show(
    invocation: Invocation,
    output: Output,
    run_id: RunArgument,
    timing: Annotated[
        bool, typer.Option("--timing", help="Show what it cost on each host, and the slowest operations.")
    ] = False,
) -> int:
    """Show a run: each instance's events, their operations, and the errors.

    With --timing: round trips and bytes of each host; how many plans were made, how many kept ones could be used
    (HITS), and how many facts were not as they had assumed (MISSES); seconds for connecting, planning, and on the host.
    """
    with invocation.project.reader() as store:
        run = _found(store, run_id)
        ran = store.commands(run=run.id)
        results = {command.id: store.result(command.id) for command in ran}
    found = report.run(run, ran, results)
    if not timing:
        invocation.terminal.emit(found, output.format, _lines(invocation.terminal, found))
        return ExitCode.OK
    cost = timings.timing(ran, results)
    shown = [_title(invocation.terminal, found), *timings.lines(invocation.terminal, cost)]
    invocation.terminal.emit({**found, "timing": cost}, output.format, shown)
    return ExitCode.OK


def _found(store: Store, run_id: str) -> Run:
    run = store.run(run_id)
    if run is None:
        newest = next(iter(store.runs(limit=1)), None)
        hint = f"the newest is {newest.id}; opsflow runs list shows them" if newest else "there are no runs yet"
        raise UsageError(f"there is no run {one_line(run_id)}", hint=hint)
    return run


def _title(terminal: Terminal, found: dict[str, Any]) -> str:
    took = f" in {duration(found['seconds'])}" if found["seconds"] is not None else ""
    title = terminal.paint(f"Run {found['id']}", "bold", data=True)
    return f"{title}: {found['action']} {found['stack']}, {found['status']}{took}"


def _lines(terminal: Terminal, found: dict[str, Any]) -> list[str]:
    lines = [_title(terminal, found)]
    lines += [f"  {name}: {one_line(found[name])}" for name in ("actor", "comment", "detail") if found[name]]
    lines += [f"  started: {found['created_at']}"]
    for entry in found["instances"]:
        lines += ["", *_entry_lines(terminal, entry)]
    return lines


def _entry_lines(terminal: Terminal, entry: dict[str, Any]) -> list[str]:
    took = f" in {duration(entry['seconds'])}" if entry["seconds"] is not None else ""
    reason = f" ({one_line(entry['reason'])})" if entry["reason"] else ""
    lines = [f"{terminal.paint(entry['name'], 'bold', data=True)} {entry['event']}: {entry['status']}{took}{reason}"]
    if entry["operations"]:
        rows = [
            (o["status"], o["name"], f"{from_here(o['file'])}:{o['line']}" if o["file"] else o["recipe"],
             duration(o["duration"]), "" if o["exit_code"] is None else o["exit_code"])
            for o in entry["operations"]
        ]  # fmt: skip
        lines += terminal.table(
            ("STATUS", "OPERATION", "WHERE", "TOOK", "EXIT"), rows, right=("TOOK", "EXIT"), indent=2
        )
    text = entry["error"] or entry["detail"]
    return [*lines, *(f"  {row}" for row in block(text).splitlines())]


@command(app, "logs")
def logs_(
    invocation: Invocation,
    output: Streaming,
    run_id: RunArgument,
    instance: Annotated[str | None, typer.Option("--instance", metavar="NAME", help="Only of this instance.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
) -> int:
    """Print what a run's commands printed, line by line, with the instance in front."""
    with invocation.project.reader() as store:
        run = _found(store, run_id)
        names = {command.instance for command in store.commands(run=run.id)}
        if instance and instance not in names:
            shown = ", ".join(sorted(names)) or "no instance at all"
            raise UsageError(f"run {run_id} did nothing on '{instance}'", hint=f"it concerns {shown}")
        _print_logs(invocation, output, store, run.id, instance, follow)
    return ExitCode.OK


def _print_logs(
    invocation: Invocation, output: Streaming, store: Store, run_id: str, instance: str | None, follow: bool
) -> None:
    terminal, seen, last = invocation.terminal, set[str](), 0
    document: list[dict[str, Any]] = []
    while True:
        # Looked at first: what is committed before a run is over is printed in this round.
        over = _found(store, run_id).completed_at is not None
        if follow and not output.jsonl:
            for entry in store.journal(run=run_id, instance=instance, after=last):
                last = entry.id
                terminal.note(line(terminal, entry))
        for found in store.commands(run=run_id):
            if found.status.final and found.id not in seen and instance in (None, found.instance):
                seen.add(found.id)
                _print_command(terminal, output, found, store.result(found.id), document)
        if over or not follow or terminal.closed:
            break
        invocation.adapters.clock.sleep(INTERVAL)
    if not output.jsonl:
        terminal.emit(document, output.format)


def _print_command(
    terminal: Terminal,
    output: Streaming,
    command: Command,
    result: HostResult | None,
    document: list[dict[str, Any]],
) -> None:
    """Print a command's log; where the output is one document, add to that."""
    if output.jsonl:
        for item in logs.records(command, result):
            terminal.emit_line(item)
    elif output.format is not Format.TABLE:
        document += logs.records(command, result)
    else:
        for text in logs.lines(terminal, command, result):
            terminal.data(text)


@command(app)
def retry(
    invocation: Invocation,
    output: Streaming,
    running: Running,
    run_id: RunArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only the instances on which it did not succeed.")] = False,
) -> int:
    """Do again what a run asked for."""
    from opsflow.cli.carry_out import carry_out, run_options

    with invocation.project.reader() as store:
        stack = _found(store, run_id).stack
    loaded, options = invocation.load(stack), run_options(running)
    return carry_out(
        invocation, loaded, output, running,
        lambda controller, cancel: controller.retry(run_id, failed, options, cancel),
    )  # fmt: skip
