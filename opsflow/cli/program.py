"""Finds the command, runs it, turns every error into one block of text and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from opsflow.cli import commands, streams
from opsflow.errors import ExitCode, OpsflowError

if TYPE_CHECKING:
    from opsflow.wiring import Adapters

PROGRAM = "opsflow"
COLLECT = (150_000, 20, 50)
"""Objects made before Python looks for unreachable cycles, and how often it looks at the older ones: more than a short
command makes, which is mostly what it imports."""


def main(adapters: Adapters | None = None) -> int:
    """Run the command line of this process and return its exit code."""
    # What is loaded and what a run writes down stays to the end: looking through all of it again and again is a tenth
    # of the time that a run on many hosts takes here.
    gc.set_threshold(*COLLECT)
    streams.install()
    return streams.settled(run(sys.argv[1:], adapters))


def run(argv: Sequence[str], adapters: Adapters | None = None) -> int:
    """Run one command line and return its exit code; ``adapters`` replaces real parts in tests."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        return _call(argv, adapters)
    except OpsflowError as error:
        return _explain(error, argv)
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _defect(error, argv)


def _call(argv: Sequence[str], adapters: Adapters | None) -> int:
    from opsflow.cli.invocation import Start
    from opsflow.wiring import Adapters

    start = Start(tuple(argv), adapters or Adapters())
    code = commands.program().main(list(argv), prog_name=PROGRAM, standalone_mode=False, obj=start)
    return int(code or 0)


def _explain(error: OpsflowError, argv: Sequence[str]) -> int:
    """One clear block: what is wrong, what would be right."""
    from opsflow.cli.terminal import Terminal, block

    terminal = Terminal(color="--no-color" not in argv)
    terminal.note(f"{terminal.paint('error:', 'red')} {block(error.message)}")
    if error.hint:
        terminal.note(f"{terminal.paint('hint:', 'cyan')} {block(error.hint)}")
    if os.environ.get("OPSFLOW_DEBUG") == "1":
        import traceback

        terminal.note(block("".join(traceback.format_exception(error))))
    return error.exit_code


def _usage(error: typer.TyperException) -> int:
    """What typer found wrong with the command line."""
    from opsflow.cli.text import one_line

    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        _say(error.format_message())
        return ExitCode.USAGE
    _say(f"error: {one_line(error.format_message()).replace('Value error, ', '')}")
    if context is not None:
        _say(f"Try '{context.command_path} --help'.")
    return ExitCode.USAGE


def _defect(error: Exception, argv: Sequence[str]) -> int:
    """Our fault: say so in two lines and keep the traceback for a report."""
    from opsflow.cli.crash import save
    from opsflow.cli.text import one_line

    if os.environ.get("OPSFLOW_DEBUG") == "1":
        raise error
    where = save(error, argv)
    _say(f"error: this is a defect of opsflow: {type(error).__name__}: {one_line(str(error))[:300]}")
    _say(f"The traceback is in {where}" if where else "Run it again with OPSFLOW_DEBUG=1 to see the traceback.")
    return ExitCode.FAILED


def _say(text: str) -> None:
    from opsflow.cli.terminal import Terminal

    Terminal().note(text)
