"""Options that many commands share, in groups; :func:`command` spreads a group over a command's own parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from opsflow.cli import completions
from opsflow.cli.formats import Format

WARM = "Keep connections for the next call, in an agent; or use no agent. Also OPSFLOW_WARM=1."


@dataclass(frozen=True)
class Common:
    """What every command takes."""

    project: Annotated[
        Path | None,
        typer.Option("--project", "-C", metavar="DIR", help="Project directory, the one that contains stacks/."),
    ] = None
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; also with NO_COLOR set.")] = False
    warm: Annotated[bool | None, typer.Option("--warm/--cold", show_default=False, help=WARM)] = None
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="-v streams what hosts print; -vv also shows phases and unchanged steps.",
        ),
    ] = 0


@dataclass(frozen=True)
class Output:
    """How a command prints its data."""

    output: Annotated[
        Format, typer.Option("--output", "-o", metavar="table|json|yaml", help="How data is printed on stdout.")
    ] = Format.TABLE
    json: Annotated[bool, typer.Option("--json", help="Short for -o json.")] = False

    @property
    def format(self) -> Format:
        """The format that counts."""
        return Format.JSON if self.json else self.output


@dataclass(frozen=True)
class Streaming(Output):
    """How a command that takes time prints: also one event a line."""

    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON event a line on stdout while it runs.")] = False


@dataclass(frozen=True)
class TargetOptions:
    """Which instances."""

    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="LAYER",
            autocompletion=completions.layers,
            help="Only instances of this layer; may be given more than once.",
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="GLOB",
            autocompletion=completions.instances,
            help="Only instances whose name matches, such as 'app*'; repeatable.",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="GLOB",
            autocompletion=completions.instances,
            help="Not the instances whose name matches; repeatable.",
        ),
    ] = None


@dataclass(frozen=True)
class Locking:
    """What a command that writes takes."""

    lock_wait: Annotated[
        str,
        typer.Option("--lock-wait", metavar="TIME", help="How long to wait for another opsflow, e.g. 30 or 5m."),
    ] = "0"
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts and CI.")] = False


@dataclass(frozen=True)
class Running(Locking):
    """How recipes are run."""

    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set an attribute for this run, e.g. app.workers=4; VALUE is YAML."
        ),
    ] = None
    serial: Annotated[
        str | None,
        typer.Option("--serial", metavar="N|P%", help="That many instances at a time, e.g. 1 or 25%."),
    ] = None
    fail_percent: Annotated[
        int | None,
        typer.Option(
            "--fail-percent",
            metavar="P",
            min=0,
            max=100,
            help="Start no further batch once more than P percent of the instances have failed.",
        ),
    ] = None
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help="Time limit for each instance, e.g. 90, 10m or 1h."),
    ] = None
    check: Annotated[bool, typer.Option("--check", help="Show what would change; change nothing.")] = False
    diff: Annotated[bool, typer.Option("--diff", help="Show how files change.")] = False
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why; kept with the run.")] = ""


def commands() -> typer.Typer:
    """What the commands of one module are registered with."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


GROUPS = (Common, Output, Streaming, TargetOptions, Locking, Running)


def command(app: typer.Typer, name: str | None = None, **settings: Any) -> Callable[[Callable[..., int]], Any]:
    """Register a command whose parameters may be option groups; it gets an ``Invocation`` as its first argument.

    The command returns the exit code of the process.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        app.command(name, **settings)(_flat(function))
        return function

    return register


def _flat(function: Callable[..., int]) -> Callable[..., None]:
    """``function`` with every option group replaced by its fields, as typer wants it."""
    hints = get_type_hints(function, include_extras=True)
    declared = list(inspect.signature(function).parameters.values())[1:]
    own = [parameter.replace(annotation=hints[parameter.name]) for parameter in declared]
    groups = {parameter.name: parameter.annotation for parameter in own if parameter.annotation in GROUPS}
    single = [parameter for parameter in own if parameter.name not in groups]
    spread = [field for group in (*groups.values(), Common) for field in _fields(group)]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    @functools.wraps(function)
    def call(**values: Any) -> None:
        context = values.pop("context")
        common = _collect(Common, values)
        arguments = {name: _collect(group, values) for name, group in groups.items()}
        given = {parameter.name: values[parameter.name] for parameter in single}
        raise typer.Exit(function(context.find_root().obj.invocation(common), **arguments, **given))

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*single, *spread)]
    call.__signature__ = inspect.Signature([*parameters, context])  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, context)}
    return call


def _fields(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]


def _collect(group: type[Any], values: dict[str, Any]) -> Any:
    return group(**{field.name: values[field.name] for field in dataclasses.fields(group)})
