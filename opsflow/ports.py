"""Every interface between the parts, with its obligations.

Each has at least two implementations: the real one and a fake that can be told to fail. One contract suite
(``tests/contract``) runs over all implementations of an interface.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from opsflow.errors import Problem
from opsflow.model.app import App
from opsflow.model.command import Command, Run
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.journal import JournalEntry
from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.result import HostResult, OperationResult
from opsflow.model.snapshot import NodeSnapshot
from opsflow.model.state import InstanceState, StackState

# ------------------------------------------------------------------------------------------------ machines


class ComputeProvider(Protocol):
    """Makes machines.

    Obligations:
        - ``create`` is idempotent: the same token returns the same machine, also after a crash in the middle and
          from another process; a half-made machine is completed or replaced, never duplicated.
        - A machine in state ``running`` has an address, a port, a user and at least one host key.
        - A provider without ``powers`` only notes what ``stop`` and ``start`` mean; its ``reboot`` is refused with
          :class:`~opsflow.errors.CannotRestart`. When the host key of its machine is not known any more, the machine
          has none, and the engine refuses it.
        - ``stop`` keeps the disk, ``start`` brings the same machine back (same id, same host keys);
          both do nothing when the machine already is in that state.
        - ``terminate`` leaves nothing behind and does nothing for a machine that is gone.
        - A machine names the instance that it was made for when the provider keeps that.
        - ``find`` and ``list`` tell the truth about machines that ended by themselves.
        - ``prospect`` tells of a machine what ``create`` will, but for a host key that only its first use tells; it
          takes nothing.
        - Errors are :class:`~opsflow.errors.ProviderError`. Every method may be called from several threads.
    """

    name: str
    powers: bool
    """Whether it can switch machines on and off."""

    def check(self) -> None:
        """Say whether this system can run the provider.

        Raises:
            CapabilityError: it cannot; the message says what is missing and what to do instead.
        """
        ...

    def create(self, request: MachineRequest) -> Machine:
        """Make the machine of ``request.token`` and start it; returns as soon as it is requested."""
        ...

    def find(self, token: str) -> Machine | None:
        """The machine of that token; None when there is none or it is gone."""
        ...

    def list(self, stack: str) -> Sequence[Machine]:
        """Every machine of the stack that is not gone."""
        ...

    def prospect(self, host: str) -> Machine | None:
        """The machine of that name that exists already and that ``create`` would take; None where it makes one."""
        ...

    def start(self, machine: Machine) -> Machine:
        """Start a stopped machine."""
        ...

    def stop(self, machine: Machine) -> Machine:
        """Stop it, keep its disk."""
        ...

    def reboot(self, machine: Machine) -> Machine:
        """Restart it in place."""
        ...

    def terminate(self, machine: Machine) -> None:
        """End it and delete its disk."""
        ...


# ------------------------------------------------------------------------------------------------ recipes


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """Where a recipe function is written."""

    name: str
    file: Path
    line: int
    doc: str = ""


class RecipeCatalog(Protocol):
    """The recipe modules of a stack, read without running them."""

    def modules(self) -> Mapping[str, Mapping[str, RecipeSource]]:
        """Module name -> function name -> source, for every module on the recipe paths.

        Raises:
            RecipeError: a recipe path is missing; or a module that cannot be parsed is looked up in what this returns.
        """
        ...

    def check(self) -> None:
        """See whether every module on the recipe paths can be parsed.

        Raises:
            RecipeError: with what is wrong in those that cannot.
        """
        ...

    def broken(self) -> Mapping[str, Sequence[Problem]]:
        """Module name -> what is wrong, for every module on the recipe paths that cannot be parsed."""
        ...

    def digest(self, recipes: Sequence[str]) -> str:
        """Content digest of what these recipes are made of: their modules, shared helpers, templates and files."""
        ...


class Mode(StrEnum):
    """How a run list is run."""

    RUN = "run"
    CHECK = "check"
    """Show what would change, run nothing."""


@dataclass(frozen=True, slots=True)
class HostJob:
    """One run list for one machine."""

    run: str
    command: str
    epoch: int
    machine: Machine
    ssh: Ssh
    recipes: tuple[str, ...]
    node: NodeSnapshot
    timeouts: Timeouts = field(default_factory=Timeouts)
    mode: Mode = Mode.RUN
    diff: bool = False
    store: str = ""
    """The store whose epoch this is. On the host, an older epoch of the same store is a leftover and is ended."""
    resumes: tuple[str, ...] = ()
    """Commands whose controller died while they ran and of which this one is another attempt, newest first."""


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """A host is now connecting, planning or running."""

    instance: str
    phase: str


@dataclass(frozen=True, slots=True)
class OperationStarted:
    """An operation begins on a host."""

    instance: str
    index: int
    total: int
    name: str


@dataclass(frozen=True, slots=True)
class OutputReceived:
    """Bytes that a command printed, redacted, as they arrive."""

    instance: str
    index: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class OperationEnded:
    """An operation is over."""

    instance: str
    result: OperationResult


HostEvent = PhaseChanged | OperationStarted | OutputReceived | OperationEnded
HostObserver = Callable[[HostEvent], None]


class Engine(Protocol):
    """Runs recipes on machines.

    Obligations:
        - A failing, hanging or vanishing host is a :class:`HostResult`, never an exception, and delays no other host.
        - Nothing of a run list runs on a host after its first failed command.
        - What a resumed command did is read back from the host: an operation that has ended is not run again, and
          one that still runs is waited for.
        - Host keys are strict: no byte of a recipe is sent to a host whose key is not the expected one.
        - A timed-out or cancelled command is killed on the host.
        - Output, errors and results are redacted with ``job.node.secrets``.
        - ``run`` may be called from many threads at once.
    """

    def check(self, jobs: Sequence[HostJob]) -> None:
        """Find recipes that cannot be imported or use something unsupported, before anything runs on any host.

        Raises:
            RecipeError: with every problem found, at file and line.
        """
        ...

    def run(self, job: HostJob, observe: HostObserver, cancel: threading.Event) -> HostResult:
        """Run the job's recipes in order on its machine."""
        ...

    def wait_ready(self, machine: Machine, ssh: Ssh, timeout: float, cancel: threading.Event) -> str | None:
        """Wait until the machine accepts an SSH login; None when it does, else the last reason why not."""
        ...

    def exec(
        self,
        machine: Machine,
        ssh: Ssh,
        command: str,
        *,
        timeout: float,
        output: Callable[[str, bytes], None],
        cancel: threading.Event | None = None,
    ) -> int:
        """Run one shell command; ``output`` gets ("stdout" | "stderr", bytes) as they arrive.

        When ``cancel`` is set, or the time is over, it is killed on the host.

        Returns:
            The exit code.

        Raises:
            HostsUnreachable: it cannot be reached, or the link was lost.
            RunFailed: the time is over, or it was cancelled.
        """
        ...

    def facts(self, machine: Machine, ssh: Ssh, names: Sequence[str]) -> Mapping[str, object]:
        """Read pyinfra facts such as ``server.Os``.

        Raises:
            UsageError: no such fact, or one that needs arguments.
            HostsUnreachable: it cannot be reached.
        """
        ...

    def close(self) -> None:
        """Close connections and end planner processes."""
        ...


# ------------------------------------------------------------------------------------------------ app sources


@dataclass(frozen=True, slots=True)
class Bundle:
    """The code of an app, ready to be sent: a deterministic .tar.gz on this machine."""

    path: Path
    revision: str
    """Commit id of a git source, else a content digest."""


class AppSources(Protocol):
    """Fetches the code of apps.

    Obligations: hostile archives and repositories write nothing outside their own directory and run nothing;
    the same content always gives the same revision and the same bundle; errors are SourceError.
    """

    def fetch(self, name: str, app: App, revision: str | None = None) -> Bundle:
        """Fetch the app at its source's revision, or at ``revision``."""
        ...


# ------------------------------------------------------------------------------------------------ the store


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write. A newer epoch fences off an older one."""

    epoch: int
    owner: str
    store: str = ""
    """Which store it belongs to, by a random name that the store keeps: epochs of two stores cannot be compared."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes, all of it or nothing. Instances, runs, commands are inserted or replaced by id."""

    entries: Sequence[JournalEntry]
    instances: Sequence[InstanceState] = ()
    removed: Sequence[tuple[str, str]] = ()
    """(stack, instance) records that are gone."""
    runs: Sequence[Run] = ()
    commands: Sequence[Command] = ()
    results: Sequence[tuple[str, HostResult]] = ()
    """(command id, result)."""
    node_snapshots: Sequence[tuple[str, NodeSnapshot]] = ()
    """(command id, what its recipes saw)."""


class Store(Protocol):
    """State, runs and journal.

    Obligations:
        - ``commit`` is one durable transaction; every change comes with at least one journal entry; it bumps the
          version of every stack that it touches.
        - Only the holder of the newest lease writes: a commit with an older epoch raises LockHeld and writes nothing.
        - Reading needs no lease and never blocks on the writer.
        - A newer schema than this program knows is refused; an older one is migrated.
        - Errors are :class:`~opsflow.errors.StoreError`. Every method may be called from several threads.
    """

    def lease(self, owner: str, *, wait: float = 0.0) -> AbstractContextManager[Lease]:
        """Become the one writer; released at the end of the block, also when the process dies.

        Args:
            owner: who and what for, shown to others, such as "user@host pid 12: opsflow up shop".
            wait: seconds to wait for the present holder.

        Raises:
            LockHeld: it is still held; the message names its owner and since when.
        """
        ...

    def epoch(self) -> int:
        """The epoch of the newest lease, held or given back; 0 before the first. Runs of older ones are over."""
        ...

    def commit(self, lease: Lease, changes: Changes) -> Sequence[JournalEntry]:
        """Write; returns the journal entries with their ids."""
        ...

    def next_run_id(self, lease: Lease) -> str:
        """A run id that was never given out before: "1", "2" ..."""
        ...

    def stacks(self) -> Sequence[str]:
        """Names of the stacks that have instances or runs."""
        ...

    def state(self, stack: str) -> StackState:
        """The stack as observed, instances in order of creation; an empty one when it is unknown."""
        ...

    def runs(self, stack: str | None = None, *, limit: int = 50, unfinished: bool = False) -> Sequence[Run]:
        """The newest ``limit``, newest first; with ``unfinished``, only those of them that are running."""
        ...

    def run(self, run_id: str) -> Run | None:
        """One run."""
        ...

    def commands(
        self, *, run: str | None = None, stack: str | None = None, unfinished: bool = False
    ) -> Sequence[Command]:
        """Commands in order of creation, of one run or stack, or only those that are pending or running."""
        ...

    def result(self, command_id: str) -> HostResult | None:
        """What a command did."""
        ...

    def node_snapshot(self, command_id: str) -> NodeSnapshot | None:
        """What a command's recipes saw."""
        ...

    def journal(
        self,
        stack: str | None = None,
        *,
        run: str | None = None,
        instance: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> Sequence[JournalEntry]:
        """Entries with an id above ``after``, oldest first; with ``limit``, the newest ones."""
        ...

    def check(self) -> Sequence[str]:
        """Read everything; what is damaged, one line each."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


# ------------------------------------------------------------------------------------------------ what is worth knowing


class Keep(Protocol):
    """Remembers what makes the next run faster: facts of hosts, traces of recipes, plans.

    Obligations: it may forget anything at any time, and nobody notices but by the time that things take; it is bounded;
    a value that it returns is one that was remembered under that key, whole; it never raises. Every method may be
    called from several threads.
    """

    def recall(self, key: str) -> bytes | None:
        """What was last remembered under the key."""
        ...

    def remember(self, values: Mapping[str, bytes]) -> None:
        """Keep the values, each in place of what was there."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...
