"""deploy, undeploy, rollback: apps."""

from __future__ import annotations

from typing import Annotated

import typer

from opsflow.cli.carry_out import carry_out, run_options, targets_of
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import AppArgument, StackArgument, known_app
from opsflow.cli.options import Running, Streaming, TargetOptions, command, commands

app = commands()


@command(app)
def deploy(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    running: Running,
    stack: StackArgument,
    app_name: AppArgument,
    revision: Annotated[
        str | None,
        typer.Option("--revision", "--rev", metavar="R", help="Branch, tag or commit; default: the stack file's."),
    ] = None,
) -> int:
    """Deploy an app on the online instances of its layers: fetch its source, fire deploy."""
    loaded = invocation.load(stack)
    name = known_app(loaded.stack, app_name)
    options, selected = run_options(running), targets_of(targets)
    return carry_out(
        invocation, loaded, output, running,
        lambda controller, cancel: controller.deploy(name, revision, selected, options, cancel),
    )  # fmt: skip


@command(app)
def undeploy(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    running: Running,
    stack: StackArgument,
    app_name: AppArgument,
) -> int:
    """Remove an app from the online instances; also one that left the stack file."""
    loaded = invocation.load(stack)
    with invocation.project.reader() as store:
        deployed = [app for state in store.state(loaded.stack.name).instances.values() for app in state.apps]
    name = known_app(loaded.stack, app_name, deployed)
    options, selected = run_options(running), targets_of(targets)
    return carry_out(
        invocation, loaded, output, running,
        lambda controller, cancel: controller.undeploy(name, selected, options, cancel),
    )  # fmt: skip


@command(app)
def rollback(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    running: Running,
    stack: StackArgument,
    app_name: AppArgument,
) -> int:
    """Go back to the release before the current one; after a failed deploy, to the last one that succeeded."""
    loaded = invocation.load(stack)
    name = known_app(loaded.stack, app_name)
    options, selected = run_options(running), targets_of(targets)
    return carry_out(
        invocation, loaded, output, running,
        lambda controller, cancel: controller.rollback(name, selected, options, cancel),
    )  # fmt: skip
