"""The table of commands. A command's module is imported when the command is used, so that --help stays fast."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Start": {
        "init": ("project", "Write a small working project."),
        "validate": ("project", "Check stack files and their recipes."),
        "schema": ("project", "Print the JSON Schema of stack files, for editors."),
        "doctor": ("doctor", "Check that this machine can do the work, and say what to do where it cannot."),
    },
    "Change": {
        "plan": ("plan", "Show what up would do, or what an event would run, and why."),
        "up": ("plan", "Bring the stack to what its file says: machines and recipes."),
        "run": ("run", "Fire a lifecycle event, or run recipes, on instances."),
        "deploy": ("apps", "Deploy an app."),
        "undeploy": ("apps", "Remove an app from its instances."),
        "rollback": ("apps", "Go back to the release before the current one."),
        "start": ("instances", "Start instances: setup, deploy, then configure on all."),
        "stop": ("instances", "Stop instances: shutdown recipes, then configure on the others."),
        "reboot": ("instances", "Restart machines in place."),
        "destroy": ("instances", "Shut down and delete every machine of the stack."),
    },
    "Look": {
        "status": ("status", "Show the instances and apps of a stack as they are now."),
        "runs": ("runs", "List, show and retry runs; read their logs."),
        "events": ("events", "Show what happened, from the journal."),
        "explain": ("explain", "Show every level that sets an attribute, and which one wins."),
        "facts": ("hosts", "Read facts of machines, such as server.Os."),
        "exec": ("hosts", "Run a shell command on instances, in parallel."),
        "ssh": ("hosts", "Open a shell on an instance, its host key checked."),
    },
    "Shell": {
        "agent": ("agent", "Start, show and stop the process that keeps connections."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
COMMANDS: Mapping[str, tuple[str, str]] = {
    name: entry for section in SECTIONS.values() for name, entry in section.items()
}

EXIT_CODES = """Exit codes:
  0    ok
  1    a recipe failed (or a machine, a source, the store)
  2    changes are pending; only with plan --detailed-exitcode
  64   the command line is wrong
  65   a stack file or recipe is wrong, or a saved plan is stale
  69   nothing failed, but hosts could not be reached
  75   another opsflow holds the lock (see --lock-wait)
  130  interrupted with ^C"""


@functools.cache
def _command(name: str) -> Any:
    module = importlib.import_module(f"opsflow.cli.{COMMANDS[name][0]}")
    found: Any = typer.main.get_command(module.app)
    command = getattr(found, "commands", {}).get(name, found)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """Knows the names of its commands without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Typer suggests similar names from this mapping.
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module and return its command."""
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete command names from the table."""
        from typer.core import CompletionItem  # type: ignore[attr-defined]

        return [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The table, section by section."""
        longest = max(map(len, COMMANDS))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(longest), text) for name, (_, text) in entries.items()])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The exit codes, as they are: rewrapping would spoil the columns."""
        formatter.write(f"\n{EXIT_CODES}\n")


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from opsflow.cli.about import program_version

        typer.echo(f"opsflow {program_version()}")
        raise typer.Exit(0)


@app.callback()
def root(
    context: typer.Context,
    project: Annotated[
        Path | None,
        typer.Option("--project", "-C", metavar="DIR", help="Project directory, the one that contains stacks/."),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; also with NO_COLOR set.")] = False,
    warm: Annotated[
        bool | None, typer.Option("--warm/--cold", show_default=False, help="Keep connections for the next call.")
    ] = None,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, show_default=False, help="Show more.")] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Stacks of layers and instances: their machines, and the recipes of their lifecycle events, over SSH.

    A project is a directory with stacks/NAME.yml and recipes/; STACK is NAME or the path of a stack file. Data goes
    to stdout, progress to stderr. Without a terminal nothing is asked: up and destroy then only show their plan,
    unless -y is given.
    """
    from opsflow.cli.invocation import Start
    from opsflow.cli.options import Common

    start = context.obj if isinstance(context.obj, Start) else Start()
    context.obj = dataclasses.replace(
        start, common=Common(project=project, no_color=no_color, warm=warm, verbose=verbose)
    )


@functools.cache
def program() -> Any:
    """What runs a command line; made once."""
    return typer.main.get_command(app)


def build(names: Iterable[str]) -> None:
    """Make commands and what reads their parameters: a process that is forked afterwards has all of it."""
    for command in (program(), *map(_command, names)):
        for one in (command, *filter(None, getattr(command, "commands", {}).values())):
            one.make_context(one.name, [], resilient_parsing=True)
