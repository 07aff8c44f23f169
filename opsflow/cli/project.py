"""init, validate, schema: a project and its stack files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Output, command, commands
from opsflow.cli.terminal import as_json, block
from opsflow.cli.text import from_here
from opsflow.errors import ConfigError, ExitCode, Problem, UsageError

if TYPE_CHECKING:
    from opsflow.config import LoadedStack

app = commands()


@command(app)
def init(
    invocation: Invocation,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
) -> int:
    """Write a small working project: a stack in sandboxes, a recipe, an inventory. Nothing is overwritten."""
    from opsflow.cli.skeleton import write

    terminal = invocation.terminal
    for path in write(directory):
        terminal.data(str(path))
    terminal.note(f"\nNext:  cd {directory} && opsflow up hello\n       opsflow status hello")
    return ExitCode.OK


@command(app)
def validate(
    invocation: Invocation,
    output: Output,
    stacks: Annotated[
        list[str] | None,
        typer.Argument(metavar="STACK", autocompletion=completions.stacks, help="Default: all stacks."),
    ] = None,
) -> int:
    """Check stack files and their recipes; every problem with file, line and column."""
    names = stacks or invocation.project.stacks()
    if not names:
        raise UsageError(f"{invocation.project.root / 'stacks'} has no stack files", hint="write stacks/NAME.yml")
    reports = [_check(invocation, name) for name in names]
    lines = []
    for report in reports:
        count = len(report["problems"])
        verdict = "ok" if report["valid"] else f"{count} problem{'s' if count > 1 else ''}"
        lines.append(from_here(f"{report['file']}: {verdict}"))
        lines += [block(str(Problem(**problem))) for problem in report["problems"]]
    invocation.terminal.emit({"stacks": reports}, output.format, lines)
    return ExitCode.OK if all(report["valid"] for report in reports) else ExitCode.BAD_INPUT


def _check(invocation: Invocation, name: str) -> dict[str, Any]:
    problems: list[Problem] = []
    file, found = name, None
    try:
        loaded = invocation.load(name)
        file, found = str(loaded.file), loaded.stack.name
        problems += _recipe_problems(invocation, loaded)
    except ConfigError as error:
        problems += error.problems
        file = error.problems[0].file if error.problems else name
    return {"stack": found, "file": file, "valid": not problems, "problems": [_as_data(p) for p in problems]}


def _recipe_problems(invocation: Invocation, loaded: LoadedStack) -> list[Problem]:
    """Recipes that the stack names and that do not exist."""
    from opsflow.cli.names import missing_recipes

    catalog = invocation.project.catalog(loaded.stack)
    catalog.check()
    return missing_recipes(loaded, catalog.modules())


def _as_data(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in Problem.__slots__}


@command(app)
def schema(invocation: Invocation) -> int:
    """Print the JSON Schema (draft 7) of stack files.

    Editors use it when the first line of a stack file is
    `# yaml-language-server: $schema=opsflow.schema.json`.
    """
    from opsflow.config import stack_schema

    invocation.terminal.data(as_json(stack_schema(), indent=2))
    return ExitCode.OK
