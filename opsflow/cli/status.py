"""status: the daily screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from opsflow.cli import completions, report
from opsflow.cli.formats import Format
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Output, command, commands
from opsflow.cli.terminal import Terminal, as_json
from opsflow.cli.text import one_line
from opsflow.errors import ExitCode

app = commands()
INTERVAL = 1.0
"""Seconds between two looks with --watch."""


@command(app)
def status(
    invocation: Invocation,
    output: Output,
    stack: Annotated[
        str | None,
        typer.Argument(
            metavar="STACK", autocompletion=completions.stacks, help="A stack's name or file; default: the only one."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever something changes; ^C ends.")
    ] = False,
) -> int:
    """Show the instances and apps of a stack as they are now.

    Instances that are declared and were never created are shown as stopped, with the note "not created"; those whose
    machine ended by itself as stopped, with that reason.
    """
    loaded = invocation.load(stack or invocation.only_stack())
    with invocation.project.reader() as store:

        def look() -> dict[str, Any]:
            return report.status(loaded.stack, *invocation.project.look(loaded, store))

        if watch:
            return _watch(invocation, output.format, look)
        found = look()
    invocation.terminal.emit(found, output.format, lines(invocation.terminal, found))
    return ExitCode.OK


def _watch(invocation: Invocation, how: Format, look: Any) -> int:
    """Print on every change: over the last screen on a terminal, below it elsewhere."""
    terminal, shown = invocation.terminal, None
    while not terminal.closed:
        found = look()
        if found != shown:
            if how is Format.JSON:
                terminal.data(as_json(found))
            else:
                terminal.screen(lines(terminal, found)) if how is Format.TABLE else terminal.emit(found, how)
            shown = found
        invocation.adapters.clock.sleep(INTERVAL)
    return ExitCode.OK


def lines(terminal: Terminal, found: dict[str, Any]) -> list[str]:
    """The status as people read it."""
    instances = found["instances"]
    online = sum(1 for instance in instances if instance["status"] == "online")
    title = terminal.paint(found["stack"], "bold", data=True)
    result = [f"{title}: {online} of {len(instances)} instances online", ""]
    result += terminal.table(
        ("INSTANCE", "LAYERS", "STATUS", "ADDRESS", "RUNS", "APPS", "NOTE"),
        [_instance_row(instance) for instance in instances],
    )
    if found["apps"]:
        result += ["", *terminal.table(("APP", "LAYERS", "REVISION", "ON"), [_app_row(a) for a in found["apps"]])]
    if found["note"]:
        result += ["", terminal.paint(one_line(found["note"]), "yellow", data=True)]
    return result


def _instance_row(instance: dict[str, Any]) -> Sequence[object]:
    return (
        instance["name"],
        ",".join(instance["layers"]),
        instance["status"],
        instance["address"] or "-",
        instance["runs"],
        " ".join(f"{app}@{short(deployed['revision'])}" for app, deployed in instance["apps"].items()) or "-",
        instance["note"] or instance["reason"],
    )


def _app_row(app: dict[str, Any]) -> Sequence[object]:
    revisions = dict.fromkeys(short(where["revision"]) for where in app["deployed"])
    names = ",".join(where["instance"] for where in app["deployed"])
    return app["name"], ",".join(app["layers"]) or "-", " ".join(revisions) or "-", names or "not deployed"


def short(revision: str) -> str:
    """Seven characters of a commit or digest, as git shows it."""
    return revision[:7] if len(revision) >= 40 else revision
