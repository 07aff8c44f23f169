"""completion: the script that makes a shell complete opsflow's commands and the names of a project."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from opsflow.cli.invocation import Invocation
from opsflow.cli.options import command, commands
from opsflow.errors import ExitCode

app = commands()


class Shell(StrEnum):
    """The shells that are supported."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@command(app)
def completion(
    invocation: Invocation, shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="Your shell.")]
) -> int:
    r"""Print the completion script of a shell.

    bash: eval "$(opsflow completion bash)" in ~/.bashrc.
    zsh: the same in ~/.zshrc, after compinit.
    fish: opsflow completion fish > ~/.config/fish/completions/opsflow.fish.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name="opsflow", complete_var="_OPSFLOW_COMPLETE", shell=shell.value)
    invocation.terminal.data(script)
    return ExitCode.OK
