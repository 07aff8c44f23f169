"""docs/reference/cli.md, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """# The command line

Generated from the code by `make docs`; do not edit it.

```
opsflow [OPTIONS] COMMAND ...
```

{about}

Every command takes `--project/-C DIR`, `--no-color`, `--warm`, `--cold`, `-v` and `--help`; all but the last may also
stand before the command. `--json` is short for `-o json`.

- **Data goes to stdout, progress to stderr.** `--jsonl` prints one JSON object a line on stdout while a command runs:
  `{{"type": "journal", ...}}` for everything that is written to the journal, and `phase`, `operation_started`, `output`
  and `operation_ended` for what happens on hosts.
- **Colours and a live view only on a terminal.** With `NO_COLOR` or `--no-color` there are no colours; in a pipe or a
  CI log there are plain lines, each with its instance in front.
- **It only asks on a terminal.** `up` and `destroy` show their plan and ask. With `-y` they do not ask. Without a
  terminal and without `-y` they only show the plan and exit with 0.
- **^C** cancels cleanly: what runs on hosts is killed there, the run becomes `cancelled`. A second ^C ends the process
  at once; the next command tells what became of the run.

## Exit codes

| code | meaning |
|---|---|
{codes}

## Commands

{table}
"""


def page() -> str:
    """The whole page."""
    import typer

    from opsflow.cli import commands

    root = typer.main.get_command(commands.app)
    context = root.make_context("opsflow", ["status"], resilient_parsing=True)
    about = "\n".join(line.strip() for line in (root.help or "").splitlines())
    rows = ["| command | |", "|---|---|"]
    rows += [f"| [`{name}`](#opsflow-{name}) | {text} |" for name, (_, text) in commands.COMMANDS.items()]
    parts = [HEAD.format(about=about, codes="\n".join(_codes(commands.EXIT_CODES)), table="\n".join(rows))]
    for name in commands.COMMANDS:
        parts += _command(root.get_command(context, name), f"opsflow {name}", context, level=3)
    return "\n".join(parts).rstrip() + "\n"


def _codes(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        code, _, meaning = line.strip().partition(" ")
        yield f"| {code} | {meaning.strip()} |"


def _command(command: Any, path: str, parent: Any, level: int) -> Iterator[str]:
    """A command, or a group and its commands."""
    context = type(parent)(command, parent=parent, info_name=path.rpartition(" ")[2])
    usage = " ".join((path, *command.collect_usage_pieces(context)))
    yield f"{'#' * level} {path}\n"
    yield f"```\n{usage}\n```\n"
    yield f"{_paragraphs(command.help)}\n"
    nested = getattr(command, "commands", None)
    if nested:
        for name in nested:
            yield from _command(nested[name], f"{path} {name}", context, level + 1)
        return
    yield from _parameters(command, context)


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in (text or "").strip().splitlines())


COMMON = {"project", "no_color", "warm", "verbose", "help"}


def _parameters(command: Any, context: Any) -> Iterator[str]:
    rows = []
    for parameter in command.get_params(context):
        if parameter.name in COMMON or getattr(parameter, "hidden", False):
            continue
        if parameter.param_type_name == "argument":
            name = f"`{parameter.metavar or parameter.name.upper()}`"
        else:
            takes = "" if parameter.is_flag or parameter.count else f" {parameter.metavar or 'TEXT'}"
            name = f"`{', '.join((*sorted(parameter.opts, key=len), *parameter.secondary_opts))}{takes}`"
        rows.append(f"| {_cell(name)} | {_cell(parameter.help or '')}{_default(parameter)} |")
    if rows:
        yield "\n".join(("| option | |", "|---|---|", *rows)) + "\n"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value in (None, False, "", (), []) or callable(value):
        return ""
    return f" Default: `{getattr(value, 'value', value)}`."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
