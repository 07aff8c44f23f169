"""plan and up: what would be done, and doing it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opsflow.cli import completions
from opsflow.cli.agreement import apply_plan, carry_out_plan, plan_lines
from opsflow.cli.carry_out import opened, targets_of
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import StackArgument, events_or_recipes
from opsflow.cli.options import Locking, Output, Streaming, TargetOptions, command, commands
from opsflow.cli.progress import Fan
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import one_line
from opsflow.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.controller import Controller, Targets
    from opsflow.planning import Plan

app = commands()


@command(app)
def plan(
    invocation: Invocation,
    output: Output,
    targets: TargetOptions,
    stack: StackArgument,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EVENT|RECIPE",
            autocompletion=completions.events_and_recipes,
            help="Plan this event, or these recipes, instead of up.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, for: opsflow up STACK --plan FILE.")
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> int:
    """Show what up would do, machines and recipes, and why; or what an event would run where.

    Changes nothing and needs no lock. Recipes that cannot run are refused here as by up.
    """
    if not what and not targets_of(targets).everything:
        raise UsageError("--layer, --only and --exclude need an EVENT: up always plans the whole stack")
    loaded = invocation.load(stack)
    with invocation.project.planner(loaded, Fan()) as controller:
        made = _planned(invocation, loaded, controller, targets_of(targets), what or ())
        controller.check_recipes(made)
        if out is not None:
            made = controller.with_sources(made)
    if out is not None:
        _save(made, out)
    invocation.terminal.emit(
        made.model_dump(mode="json"), output.format, plan_lines(invocation.terminal, made, data=True)
    )
    if out is not None:
        invocation.terminal.note(f"\nSaved. Apply it with: opsflow up {stack} --plan {out}")
    return ExitCode.CHANGES_PENDING if detailed_exitcode and not made.empty else ExitCode.OK


def _planned(
    invocation: Invocation, loaded: LoadedStack, controller: Controller, targets: Targets, what: Sequence[str]
) -> Plan:
    if not what:
        return controller.plan_up()
    asked = events_or_recipes(what, lambda: invocation.project.catalog(loaded.stack).modules())
    if isinstance(asked, tuple):
        return controller.plan_recipes(asked, targets)
    return controller.plan_event(asked, targets)


@command(app)
def up(
    invocation: Invocation,
    output: Streaming,
    locking: Locking,
    stack: StackArgument,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="FILE", help="Carry out this saved plan, without asking; refused when it is stale."
        ),
    ] = None,
) -> int:
    """Bring the stack to what its file says: machines and recipes.

    Shows the plan and asks. Without a terminal and without -y it only shows the plan. A saved plan (--plan) was
    looked at when it was made: it is carried out without a question, also without a terminal.
    """
    loaded = invocation.load(stack)
    terminal = invocation.terminal
    if plan:
        saved = _load(plan, loaded.stack.name)
        with opened(invocation, loaded, output, locking) as work:
            return apply_plan(invocation, output, work, saved)
    return carry_out_plan(
        invocation, loaded, output, locking, lambda controller: controller.plan_up(), lambda: _refusal(terminal)
    )


def _refusal(terminal: Terminal) -> int | None:
    if terminal.ask("\nDo this? [y/N] ").lower() in ("y", "yes"):
        return None
    terminal.note("Nothing was done.")
    return ExitCode.OK


def _save(made: Plan, file: Path) -> None:
    """Write a plan so that only the user can read or change it, all of it or nothing."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(made.model_dump_json(indent=2) + "\n")
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"--out {file}: {error.strerror}") from None


def _load(file: Path, stack: str) -> Plan:
    """Read a saved plan.

    Raises:
        UsageError: there is no such file, it is no plan, or it is for another stack.
    """
    from pydantic import ValidationError

    from opsflow.planning import Plan

    try:
        made = Plan.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"--plan {file}: {error.strerror}") from None
    except ValidationError:
        raise UsageError(f"--plan {file}: this is no plan", hint="make one: opsflow plan STACK --out FILE") from None
    if made.stack != stack:
        raise UsageError(f"--plan {file}: it was made for the stack '{one_line(made.stack)}', not for '{stack}'")
    return made
