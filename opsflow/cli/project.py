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
    """Check stack files, their recipes and the sources of their apps; every problem with file, line and column.

    Recipes are loaded and called once, without a host. A module that no stack uses and that is not valid Python is only
    a warning.
    """
    names = stacks or invocation.project.stacks()
    if not names:
        raise UsageError(f"{invocation.project.root / 'stacks'} has no stack files", hint="write stacks/NAME.yml")
    reports = [_check(invocation, name) for name in names]
    lines = []
    for report in reports:
        lines.append(from_here(f"{report['file']}: {_verdict(report)}"))
        lines += [block(str(Problem(**problem))) for problem in report["problems"]]
        lines += [block(f"warning: {Problem(**problem)}") for problem in report["warnings"]]
    invocation.terminal.emit({"stacks": reports}, output.format, lines)
    return ExitCode.OK if all(report["valid"] for report in reports) else ExitCode.BAD_INPUT


def _verdict(report: dict[str, Any]) -> str:
    counts = [
        f"{len(report[kind])} {kind if len(report[kind]) > 1 else kind[:-1]}"
        for kind in ("problems", "warnings")
        if report[kind]
    ]
    return ", ".join([*(["ok"] if report["valid"] else []), *counts])


def _check(invocation: Invocation, name: str) -> dict[str, Any]:
    file, found = name, None
    warnings: list[Problem] = []
    try:
        loaded = invocation.load(name)
    except ConfigError as error:
        problems = list(error.problems)
        file = problems[0].file if problems else name
    else:
        file, found = str(loaded.file), loaded.stack.name
        problems, warnings = _recipe_problems(invocation, loaded)
        problems += _source_problems(invocation, loaded)
    return {
        "stack": found,
        "file": file,
        "valid": not problems,
        "problems": [_as_data(problem) for problem in problems],
        "warnings": [_as_data(problem) for problem in warnings],
    }


def _recipe_problems(invocation: Invocation, loaded: LoadedStack) -> tuple[list[Problem], list[Problem]]:
    """What keeps the stack's recipes from running; and what is wrong with modules that it does not use."""
    from opsflow.cli.names import missing_recipes, named_modules

    catalog = invocation.project.catalog(loaded.stack)
    try:
        modules = catalog.modules()
    except ConfigError as error:
        return list(error.problems), []
    broken, used = catalog.broken(), named_modules(loaded.stack)
    problems = [problem for module, each in broken.items() if module in used for problem in each]
    problems += missing_recipes(loaded, {name: modules[name] for name in modules}, without=broken)
    try:
        invocation.project.check_recipes(loaded)
    except ConfigError as error:
        problems += error.problems
    named = {(problem.file, problem.line) for problem in problems}
    others = [problem for module, each in broken.items() if module not in used for problem in each]
    return problems, [problem for problem in others if (problem.file, problem.line) not in named]


def _source_problems(invocation: Invocation, loaded: LoadedStack) -> list[Problem]:
    """Apps whose code is said to be on this machine, and is not."""
    return [
        loaded.document.problem(("apps", name, "source", app.source.kind), message)
        for name, app in loaded.stack.apps.items()
        if (message := invocation.project.missing_source(app))
    ]


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
