"""run: an event, or recipes, on instances."""

from __future__ import annotations

from typing import Annotated

import typer

from opsflow.cli import completions
from opsflow.cli.carry_out import carry_out, run_options, targets_of
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import StackArgument, events_or_recipes
from opsflow.cli.options import Running, Streaming, TargetOptions, command, commands

app = commands()


@command(app)
def run(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    running: Running,
    stack: StackArgument,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="EVENT|RECIPE",
            autocompletion=completions.events_and_recipes,
            help="setup, configure, deploy, undeploy or shutdown; or recipes such as nginx.setup, in order.",
        ),
    ],
) -> int:
    """Fire a lifecycle event, or run recipes, on the online instances (setup: also where it failed).

    It does not ask: the command says what to do. Try it with --check first.
    """
    loaded = invocation.load(stack)
    options, selected = run_options(running), targets_of(targets)
    asked = events_or_recipes(what, lambda: invocation.project.catalog(loaded.stack).modules())
    if isinstance(asked, tuple):
        return carry_out(
            invocation, loaded, output, running,
            lambda controller, cancel: controller.run_recipes(asked, selected, options, cancel),
        )  # fmt: skip
    return carry_out(
        invocation, loaded, output, running,
        lambda controller, cancel: controller.run_event(asked, selected, options, cancel),
    )  # fmt: skip
