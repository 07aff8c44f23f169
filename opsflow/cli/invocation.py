"""One call of the program: its options, its terminal and the project it works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from opsflow.cli.argv import shown
from opsflow.cli.options import Common
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import one_line
from opsflow.errors import UsageError
from opsflow.wiring import Adapters, Project, open_project, require_root

if TYPE_CHECKING:
    from opsflow.config import LoadedStack


@dataclass(frozen=True)
class Start:
    """What the process was started with, before any command is known."""

    argv: Sequence[str] = ()
    adapters: Adapters = field(default_factory=Adapters)
    common: Common = field(default_factory=Common)

    def invocation(self, common: Common) -> Invocation:
        """What a command gets; ``common`` are its own options."""
        return Invocation(self, common)


class Invocation:
    """Handed to every command."""

    def __init__(self, start: Start, common: Common) -> None:
        self.command_line = shown(start.argv)
        self.directory = common.project or start.common.project
        self.verbose = common.verbose + start.common.verbose
        self.terminal = Terminal(color=not (common.no_color or start.common.no_color))
        warm = start.common.warm if common.warm is None else common.warm
        self.adapters = replace(start.adapters, warm=_from_environment(warm), warn=self._warn)

    def _warn(self, text: str) -> None:
        self.terminal.note(f"{self.terminal.paint('note:', 'yellow')} {one_line(text)}")

    @cached_property
    def project(self) -> Project:
        """The project of --project, else the one around the working directory.

        Raises:
            UsageError: there is none.
        """
        if self.directory is not None:
            return open_project(require_root(self.directory), self.adapters)
        return open_project(require_root(Path.cwd()), self.adapters)

    def only_stack(self) -> str:
        """The name of the project's stack, where nobody says which.

        Raises:
            UsageError: there is none, or there are several.
        """
        names = self.project.stacks()
        if not names:
            raise UsageError("this project has no stack file: stacks/NAME.yml is missing")
        if len(names) > 1:
            raise UsageError("which stack? This project has several", hint=", ".join(names))
        return names[0]

    def load(self, stack: str) -> LoadedStack:
        """Load a stack by name or file; a file outside any project is its own project.

        Raises:
            UsageError: there is no such stack.
            ConfigError: its file is wrong.
        """
        path = Path(stack)
        if self.directory is None and path.suffix in (".yml", ".yaml") and path.is_file():
            self.__dict__["project"] = open_project(_around(path.resolve()), self.adapters)
            return self.project.load(str(path.resolve()))
        return self.project.load(stack)


def _from_environment(warm: bool | None) -> bool | None:
    """What --warm or --cold says, else OPSFLOW_WARM."""
    given = os.environ.get("OPSFLOW_WARM", "")
    if warm is not None or not given:
        return warm
    if given not in ("0", "1"):
        raise UsageError(f"OPSFLOW_WARM is 1 (keep connections) or 0, not '{one_line(given)}'")
    return given == "1"


def _around(file: Path) -> Path:
    from opsflow.wiring import find_root

    return find_root(file.parent) or file.parent
