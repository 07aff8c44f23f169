"""events: the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from opsflow.cli import completions, report
from opsflow.cli.formats import Format
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Streaming, command, commands
from opsflow.cli.terminal import Terminal, as_json
from opsflow.cli.text import moment, one_line
from opsflow.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsflow.model.journal import JournalEntry
    from opsflow.ports import Store

app = commands()
INTERVAL = 0.5
"""Seconds between two looks with -f."""


@command(app)
def events(
    invocation: Invocation,
    output: Streaming,
    stack: Annotated[
        str | None,
        typer.Argument(metavar="STACK", autocompletion=completions.stacks, help="Only this stack; default: all."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones; ^C ends.")] = False,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", autocompletion=completions.run_ids, help="Only of this run.")
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", metavar="NAME", autocompletion=completions.instances, help="Only of this instance."),
    ] = None,
    after: Annotated[int, typer.Option("--after", metavar="ID", min=0, help="Only those after this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=100000, help="The newest N.")] = 200,
) -> int:
    """Show what happened: every change, oldest first, from the journal."""
    name = invocation.load(stack).stack.name if stack else None
    with invocation.project.reader() as store:
        if run and store.run(run) is None:
            raise UsageError(f"there is no run {run}", hint="opsflow runs list shows them")
        found = store.journal(name, run=run, instance=instance, after=after, limit=limit)
        if output.format is not Format.TABLE and not output.jsonl and not follow:
            invocation.terminal.emit([report.entry(entry) for entry in found], output.format)
            return ExitCode.OK
        as_lines = output.jsonl or output.format is not Format.TABLE
        _print(invocation.terminal, found, as_lines)
        last = found[-1].id if found else after
        if follow:
            for entry in _new(invocation, store, name, run, instance, last):
                _print(invocation.terminal, [entry], as_lines)
    return ExitCode.OK


def _new(
    invocation: Invocation, store: Store, stack: str | None, run: str | None, instance: str | None, last: int
) -> Iterator[JournalEntry]:
    """What is added from now on; ends when nobody reads any more."""
    while not invocation.terminal.closed:
        for entry in store.journal(stack, run=run, instance=instance, after=last):
            last = entry.id
            yield entry
        invocation.adapters.clock.sleep(INTERVAL)


def _print(terminal: Terminal, entries: Sequence[JournalEntry], as_lines: bool) -> None:
    for entry in entries:
        terminal.data(as_json(report.entry(entry)) if as_lines else line(terminal, entry))


def line(terminal: Terminal, entry: JournalEntry) -> str:
    """One entry as people read it."""
    where = "/".join(part for part in (entry.stack, entry.instance) if part)
    run = f" run {entry.run}" if entry.run else ""
    kind = terminal.paint(f"{entry.kind:<22}", _style(entry.kind), data=True)
    return f"{moment(entry.at)}  {entry.id:>5}  {kind}  {where:<20} {one_line(entry.message)}{run}"


def _style(kind: str) -> str:
    if kind.endswith(("failed", "lost", "expired", "interrupted")):
        return "red"
    return "green" if kind.endswith(("online", "successful", "created")) else ""
