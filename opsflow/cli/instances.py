"""start, stop, reboot, destroy: machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from opsflow.cli import completions
from opsflow.cli.agreement import carry_out_plan
from opsflow.cli.carry_out import Action, carry_out, targets_of
from opsflow.cli.invocation import Invocation
from opsflow.cli.names import StackArgument
from opsflow.cli.options import Locking, Streaming, TargetOptions, command, commands
from opsflow.errors import CannotRestart, ExitCode

if TYPE_CHECKING:
    from opsflow.config import LoadedStack

app = commands()
InstancesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="INSTANCE", autocompletion=completions.instances, help="As with --only; default: all."),
]


@command(app)
def start(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    locking: Locking,
    stack: StackArgument,
    instances: InstancesArgument = None,
) -> int:
    """Start instances: machine, setup, deploy, online; then configure on every online instance.

    Machines of an inventory (static) have to run already: opsflow only notes that they are in use.
    """
    return _machines(invocation, output, targets, locking, stack, instances, "start")


@command(app)
def stop(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    locking: Locking,
    stack: StackArgument,
    instances: InstancesArgument = None,
) -> int:
    """Stop instances, keeping their disks: shutdown recipes, machine; configure on the others.

    Machines of an inventory (static) run on: opsflow only notes that they are not in use.
    """
    return _machines(invocation, output, targets, locking, stack, instances, "stop")


@command(app)
def reboot(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    locking: Locking,
    stack: StackArgument,
    instances: InstancesArgument = None,
) -> int:
    """Restart machines in place; no event is fired.

    Machines that opsflow cannot switch on and off (static) are refused; the message says what to do instead.
    """
    return _machines(invocation, output, targets, locking, stack, instances, "reboot")


def _machines(
    invocation: Invocation,
    output: Streaming,
    targets: TargetOptions,
    locking: Locking,
    stack: str,
    instances: Sequence[str] | None,
    verb: str,
) -> int:
    loaded = invocation.load(stack)
    named = TargetOptions(targets.layer, [*(targets.only or ()), *(instances or ())], targets.exclude)
    selected = targets_of(named)
    if not invocation.project.compute(loaded.stack).powers:
        _without_powers(invocation, loaded, named, verb)
    actions: dict[str, Action] = {
        "start": lambda controller, cancel: controller.start(selected, cancel),
        "stop": lambda controller, cancel: controller.stop(selected, cancel),
        "reboot": lambda controller, cancel: controller.reboot(selected, cancel),
    }
    return carry_out(invocation, loaded, output, locking, actions[verb])


def _without_powers(invocation: Invocation, loaded: LoadedStack, named: TargetOptions, verb: str) -> None:
    """Say what starting and stopping mean for machines that nobody can switch on and off.

    Raises:
        CannotRestart: they are to be restarted.
    """
    provider = loaded.stack.compute.provider
    if verb == "reboot":
        raise CannotRestart(provider, loaded.stack.name, *(named.only or ()) if len(named.only or ()) == 1 else ())
    what, recipes = ("on", "setup") if verb == "start" else ("off", "shutdown")
    invocation.terminal.note(
        f"{invocation.terminal.paint('note:', 'yellow')} the provider '{provider}' cannot switch machines {what}: "
        f"the {recipes} recipes run, and only opsflow's record changes"
    )


@command(app)
def destroy(invocation: Invocation, output: Streaming, locking: Locking, stack: StackArgument) -> int:
    """Run shutdown everywhere, then delete every machine of the stack and its disk.

    Asks for the stack's name. Without a terminal and without -y it only shows what would be done.
    """
    loaded = invocation.load(stack)
    name, terminal = loaded.stack.name, invocation.terminal

    def refusal() -> int | None:
        if terminal.ask(f"\nType the stack's name to destroy it ({name}): ") == name:
            return None
        terminal.note("That is not its name. Nothing was done.")
        return ExitCode.FAILED

    return carry_out_plan(invocation, loaded, output, locking, lambda controller: controller.plan_destroy(), refusal)
