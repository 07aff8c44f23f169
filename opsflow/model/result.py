"""What a run list did on one host."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from opsflow.model.base import Model


class OperationStatus(StrEnum):
    """What one operation did."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    IGNORED = "ignored"
    """It failed, and the recipe said `_ignore_errors`."""
    NOT_RUN = "not_run"
    """Its host had failed before."""
    WOULD_CHANGE = "would_change"
    """Check mode: it would run commands."""
    MAYBE = "maybe"
    """Check mode: it depends on an operation that would change something."""


class CommandOutput(Model):
    """Output of one shell command, as text (undecodable bytes are backslash-escaped) and true byte counts."""

    command: str
    """The command with secrets masked."""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    duration: float = 0.0
    """Seconds."""
    detail: str = ""
    """Why there is no exit code: timed out, link lost, cancelled."""


class OperationResult(Model):
    """One operation of a recipe on one host."""

    index: int
    name: str
    operation: str
    """Such as ``files.template``."""
    recipe: str
    """Such as ``haproxy.configure``."""
    file: str = ""
    line: int = 0
    status: OperationStatus
    duration: float = 0.0
    """Seconds on the host."""
    commands: tuple[CommandOutput, ...] = ()
    diff: str = ""
    """Unified diff of the file that it writes, when asked for."""
    detail: str = ""
    """What was decided about it when an earlier run was resumed."""

    @property
    def changed(self) -> bool:
        """Whether it ran commands, all successful."""
        return self.status is OperationStatus.CHANGED

    @property
    def exit_code(self) -> int | None:
        """Exit code of its last command."""
        return self.commands[-1].exit_code if self.commands else None


class HostStatus(StrEnum):
    """How a host ended: exactly one of these."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class RunStats(Model):
    """What a host's run cost."""

    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    plans: int = 0
    """Plans that were made."""
    hits: int = 0
    """Plans that were kept from an earlier run and still held."""
    misses: int = 0
    """Facts that were not as assumed."""
    seconds: Mapping[str, float] = Field(default_factory=dict)
    """Per phase: connect, plan, host."""


class Reads(Model):
    """What recipes read of the node: who depends on what."""

    layers: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()


class HostResult(Model):
    """The result of one run list on one host. A failed host is a result, not an exception."""

    instance: str
    status: HostStatus
    detail: str = ""
    """One line: why it is not ok."""
    error: str = ""
    """The whole story for the user: recipe file and line, operation, command, exit code, last lines of stderr."""
    resumed: str = ""
    """One line: what an earlier run had done, when its controller died and this one has resumed it."""
    operations: tuple[OperationResult, ...] = ()
    reads: Reads = Field(default_factory=Reads)
    stats: RunStats = Field(default_factory=RunStats)

    @property
    def ok(self) -> bool:
        """Whether every operation ran or was ignored."""
        return self.status is HostStatus.OK
