"""Plan, show, ask, do: what is agreed to is what is done. Nobody is kept from writing while a question waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from opsflow.cli.carry_out import Work, opened
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Locking, Streaming
from opsflow.cli.progress import Fan
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import clean
from opsflow.errors import ExitCode

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.controller import Controller, Outcome
    from opsflow.planning import Plan

WIDEST = 120
_COLORS = {"+": "green", "~": "yellow", "-": "red", "!": "cyan"}


def carry_out_plan(
    invocation: Invocation,
    loaded: LoadedStack,
    output: Streaming,
    locking: Locking,
    make: Callable[[Controller], Plan],
    refusal: Callable[[], int | None],
) -> int:
    """Carry out what ``make`` plans, once the user has seen it; returns the exit code.

    Args:
        invocation: the call of the program.
        loaded: the stack.
        output: how to print.
        locking: how long to wait for another writer, and whether not to ask.
        make: plans; asked again when the stack is ours, because it may have changed while the question waited.
        refusal: asks; the exit code when the user does not want it.
    """
    terminal = invocation.terminal
    if locking.yes:
        with opened(invocation, loaded, output, locking) as work:
            return apply_plan(invocation, output, work, make(work.controller))
    while True:
        with invocation.project.planner(loaded, Fan()) as planner:
            agreed = make(planner)
        if agreed.empty or not terminal.interactive:
            return show_only(invocation, output, agreed)
        _show(terminal, agreed)
        if (code := refusal()) is not None:
            return code
        with opened(invocation, loaded, output, locking) as work:
            made = make(work.controller)
            if _same(made, agreed):
                return work.do(partial(_applied, made))
        terminal.note("\nThe stack changed in the meantime. Planning again.\n")


def apply_plan(invocation: Invocation, output: Streaming, work: Work, made: Plan) -> int:
    """Show a plan that nobody has to agree to, and carry it out."""
    if made.empty:
        return show_only(invocation, output, made)
    _show(invocation.terminal, made)
    return work.do(partial(_applied, made))


def _applied(made: Plan, controller: Controller, cancel: threading.Event) -> Outcome:
    return controller.apply(made, cancel)


def _same(made: Plan, agreed: Plan) -> bool:
    """Whether both would do the same with the same files; the version of the state alone does not matter."""
    fresh = {"made_at": made.made_at, "fingerprint": agreed.fingerprint.model_copy(
        update={"state": made.fingerprint.state})}  # fmt: skip
    return agreed.model_copy(update=fresh) == made


def _show(terminal: Terminal, made: Plan) -> None:
    terminal.note("\n".join(plan_lines(terminal, made, data=False)))


def show_only(invocation: Invocation, output: Streaming, made: Plan) -> int:
    """Show a plan that is not carried out, because it is empty or because nobody can be asked."""
    terminal = invocation.terminal
    if output.jsonl:
        terminal.emit_line({"type": "plan", **made.model_dump(mode="json")})
    else:
        terminal.emit(made.model_dump(mode="json"), output.format, plan_lines(terminal, made, data=True))
    if not made.empty:
        terminal.note("\nNothing was done: there is no terminal to ask on. Use -y to do it.")
    return ExitCode.OK


def plan_lines(terminal: Terminal, made: Plan, *, data: bool) -> list[str]:
    """A plan as people read it, for stdout (``data``) or stderr."""
    from opsflow.planning.text import render

    columns = (terminal.out_columns if data else terminal.err_columns) or 100
    lines = render(made, max(40, min(columns, WIDEST)))
    return [terminal.paint(clean(line.text), _COLORS.get(line.marker.value, ""), data=data) for line in lines]
