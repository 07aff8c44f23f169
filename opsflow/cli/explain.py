"""explain: why an attribute has its value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opsflow.cli import completions, values
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import StackArgument
from opsflow.cli.options import Output, command, commands
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import from_here, one_line
from opsflow.errors import ExitCode

if TYPE_CHECKING:
    from opsflow.config import Explanation, Level

app = commands()


@command(app)
def explain(
    invocation: Invocation,
    output: Output,
    stack: StackArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A dotted key, such as app.workers.")],
    on: Annotated[
        str, typer.Option("--on", metavar="INSTANCE", autocompletion=completions.instances, help="For which instance.")
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As if a run had this --set.")
    ] = None,
) -> int:
    """Show every level that sets an attribute, with file and line, and which one wins."""
    from opsflow.config import explain as explain_key

    found = explain_key(invocation.load(stack), key, on, values.attributes(set_ or ()))
    invocation.terminal.emit(_data(found), output.format, _lines(invocation.terminal, found))
    return ExitCode.OK


def _data(found: Explanation) -> dict[str, Any]:
    return {
        "key": found.key,
        "instance": found.instance,
        "value": found.value,
        "levels": [
            {
                "name": level.name,
                "value": level.value,
                "part": level.part.value,
                "file": level.file,
                "line": level.line,
                "column": level.column,
                "path": level.path,
            }
            for level in found.levels
        ],
    }


def _lines(terminal: Terminal, found: Explanation) -> list[str]:
    """The strongest level first, as people ask: who wins?"""
    title = terminal.paint(f"{found.key} on {found.instance}", "bold", data=True)
    rows = [(level.part, level.name, _short(level.value), _where(level)) for level in reversed(found.levels)]
    value = _short(found.value) if found.contributors else "not set"
    return [f"{title} = {value}", "", *terminal.table(("", "LEVEL", "VALUE", "WHERE"), rows)]


def _where(level: Level) -> str:
    return "the command line" if level.file is None else from_here(f"{level.file}:{level.line}")


def _short(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False, default=str))
