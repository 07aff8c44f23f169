"""What a peer is."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from bench.environment import Environment
from bench.meter import Command
from bench.testbed import Testbed


class Phase(StrEnum):
    """The state that a run finds the hosts in."""

    FIRST = "first"
    """Pristine, and the tool knows nothing about them."""
    CONVERGED = "converged"
    """As the recipe wants them, and the tool has been there before."""


class Peer(ABC):
    """One tool in one manner of use, on the hosts of a testbed."""

    key: ClassVar[str]
    """For ``--peers``."""
    title: ClassVar[str]
    phases: ClassVar[tuple[Phase, ...]] = (Phase.FIRST, Phase.CONVERGED)
    slow: ClassVar[bool] = False
    """So slow that one round has to do."""
    remembers: ClassVar[bool] = False
    """It uses what it saw last time, so its first run on hosts that another peer has changed is one of a kind."""
    stays: ClassVar[bool] = False
    """It has processes that outlive a run, on purpose."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Packages in the peers' environment."""

    def __init__(self, testbed: Testbed, environment: Environment, resources: ExitStack) -> None:
        """Everything that must be closed in the end goes into ``resources``."""
        self.testbed = testbed
        self.environment = environment
        self.resources = resources
        self.place: Path = testbed.place(self.key)

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        return self.environment.missing(*self.needs)

    @abstractmethod
    def prepare(self) -> None:
        """Write its files, open its connections; not measured."""

    def forget(self) -> None:  # noqa: B027 - most have no memory
        """Forget what it knows about the hosts: the next run is a first one; not measured."""

    @abstractmethod
    def command(self) -> Command:
        """What is measured."""

    def round_trips(self) -> float | None:
        """Of the last run, for each host, where the tool itself counts them."""
        return None

    def do(self, *arguments: str) -> str:
        """Run one of its programs, not measured."""
        done = subprocess.run(
            arguments, cwd=self.place, env=self.variables(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def variables(self) -> Mapping[str, str]:
        """Its environment variables."""
        return {**os.environ, "HOME": str(self.place), "LC_ALL": "C.UTF-8"}

    def call(self, *arguments: str, directory: Path | None = None) -> Command:
        return Command(list(arguments), directory or self.place, self.variables())
