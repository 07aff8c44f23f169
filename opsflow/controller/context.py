"""What a controller is given, what may be asked of it, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from opsflow.errors import ExitCode
from opsflow.model.attributes import Attributes
from opsflow.model.command import Command, Run
from opsflow.model.compute import Ssh
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult
from opsflow.model.stack import Stack
from opsflow.planning.rollout import Serial
from opsflow.ports import HostEvent, Mode


@dataclass(frozen=True, slots=True)
class StackContext:
    """A stack and where it comes from."""

    stack: Stack
    file: Path
    root: Path
    """The project's directory."""
    digest: str
    """Digest of the stack file."""

    @property
    def ssh(self) -> Ssh:
        """How machines are reached, with file names resolved: relative to the stack file, else to the project."""
        ssh = self.stack.compute.ssh
        return ssh.model_copy(update={"key": self._resolved(ssh.key), "known_hosts": self._resolved(ssh.known_hosts)})

    def _resolved(self, name: str | None) -> str | None:
        if name is None:
            return None
        path = Path(name).expanduser()
        beside = self.file.parent / path
        return str((beside if beside.exists() else self.root / path).absolute())


class Observer(Protocol):
    """Hears of everything that happens; called from several threads."""

    def entry(self, entry: JournalEntry) -> None:
        """Something was committed to the journal."""
        ...

    def host(self, event: HostEvent) -> None:
        """Something happened on a host."""
        ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out."""

    mode: Mode = Mode.RUN
    diff: bool = False
    serial: Serial = None
    """At most this many instances at once: a number or a percentage."""
    fail_percent: float | None = None
    """Stop when more than this share of the instances has failed."""
    attributes: Attributes = field(default_factory=dict)
    """Overrides for this run only."""
    timeout: float | None = None
    """Seconds for one event on one instance, instead of the stack's."""
    comment: str = ""

    @property
    def checking(self) -> bool:
        """Whether nothing is changed."""
        return self.mode is Mode.CHECK

    def as_data(self) -> dict[str, Any]:
        """Those that are not the default, as JSON-like data."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        default = RunOptions()
        return {name: value for name, value in given.items() if value != getattr(default, name)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> RunOptions:
        """The inverse of :meth:`as_data`."""
        return cls(**{**data, **({"mode": Mode(data["mode"])} if "mode" in data else {})})

    def over(self, below: RunOptions) -> RunOptions:
        """These options where they differ from the default, else those ``below``."""
        return RunOptions.from_data({**below.as_data(), **self.as_data()})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    run: Run
    commands: tuple[Command, ...]
    results: Mapping[str, HostResult]
    """By command id."""
    exit_code: ExitCode
    failures: Mapping[str, str] = field(default_factory=dict)
    """Instances that failed otherwise than in a command, such as a machine that did not start, and why."""
