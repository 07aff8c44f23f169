"""What the engine and its planner processes say to each other: plain data, JSON on the wire.

A run list is a deterministic function of the outputs of the facts that it reads and of the commands that it runs.
A :class:`HostPlan` is that function's value for the answers known so far.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from opsflow.model.result import Reads
from opsflow.model.snapshot import NodeSnapshot


class Message(BaseModel):
    """A frozen message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FactAnswer(Message):
    """What a fact's shell command printed."""

    exit_code: int
    stdout: str
    stderr: str = ""


class CommandAnswer(Message):
    """How a command of an operation ended."""

    success: bool
    stdout: str = ""
    stderr: str = ""
    partial: bool = False
    """Whether some of its output may be missing, because nobody was there to hear it."""


class FactStep(Message):
    """An operation reads a fact here, and assumes that it is what it was answered."""

    kind: Literal["fact"] = "fact"
    key: str
    """The complete shell command, which identifies the fact."""
    mask: str = ""
    """Which parts of the output may differ without meaning anything: `stat` hides the access time, `times` all."""
    answer: FactAnswer | None = None
    """What it is assumed to be here; None when that is what is known of it anyway."""

    @property
    def identity(self) -> str:
        """What must be the same for it to be the same step."""
        return self.key


class CommandStep(Message):
    """An operation runs a shell command here."""

    kind: Literal["command"] = "command"
    script: str
    """Shell text for a subshell of the persistent shell."""
    display: str
    """The command, masked, for people."""
    timeout: float | None = None
    success_codes: tuple[int, ...] = (0,)

    @property
    def identity(self) -> str:
        """What must be the same for it to be the same step."""
        return hashlib.sha256(self.script.encode(errors="surrogatepass")).hexdigest()


class UploadStep(Message):
    """An operation writes a file here."""

    kind: Literal["upload"] = "upload"
    content: Base64Bytes | None = None
    """The bytes; None when they are at `path` on this machine, because they are many."""
    path: str | None = None
    size: int
    dest: str
    script: str
    """Shell text that copies its standard input to the destination, with the operation's privileges."""
    read: str
    """Shell text that prints the present content of the destination."""
    timeout: float | None = None

    @property
    def identity(self) -> str:
        """What must be the same for it to be the same step."""
        return hashlib.sha256(f"{self.script}\0{self.path}\0{self.size}\0".encode() + (self.content or b"")).hexdigest()


Step = Annotated[FactStep | CommandStep | UploadStep, Field(discriminator="kind")]


class Barrier(Message):
    """Something of an operation that no script for the host can do: what comes after it depends on how it ends."""

    what: Literal["call", "download", "boot", "reconnect"]
    display: str
    """For people, and what must be the same for it to be the same barrier."""
    read: str = ""
    """A download: shell text that prints the file in base64."""
    dest: str = ""
    """A download: the file on this machine."""
    delay: float = 0.0
    interval: float = 1.0
    timeout: float | None = None
    answer: CommandAnswer | None = None
    """A call: how it ended, when this plan was asked to make it."""
    changes: str = ""
    """A call: what later plans must find changed."""


class OperationState(StrEnum):
    """How far the planner got with an operation."""

    PLANNED = "planned"
    MISSING = "missing"
    """Facts are missing; its steps are incomplete."""
    BARRIER = "barrier"
    """It needs real results of what comes before it."""
    FAILED = "failed"
    """Generating its commands failed with everything known."""


class PlannedOperation(Message):
    """One operation and what it would do, given the answers."""

    index: int
    name: str
    operation: str
    recipe: str
    file: str = ""
    line: int = 0
    state: OperationState = OperationState.PLANNED
    steps: tuple[Step, ...] = ()
    ignore_errors: bool = False
    conditional: bool = False
    """It has an `_if`."""
    error: str = ""
    place: str = ""
    """Where the recipe calls it, and the how manyth it is there: the same on other hosts, where its name may differ."""
    attempt: int = 0
    """Its steps belong to this attempt; the earlier ones have failed, or a condition wanted another one."""
    retries: int = 0
    """Attempts that may follow the first one."""
    retry_delay: float = 0.0
    """Seconds before each of them."""
    continues: bool = False
    """A failed command does not keep the next ones from running."""
    failed: bool = False
    """A command of this attempt has failed; those that are left run nevertheless, and then it is a failure."""
    open: bool = False
    """What follows its steps is known only when they have run: another attempt, or more steps."""
    barrier: Barrier | None = None
    """All before it has happened, and this is next; then it has no steps, and is open."""

    @property
    def identity(self) -> str:
        """What must be the same in every plan of a run for it to be the same operation."""
        return f"{self.operation} {self.name} {self.file}:{self.line}"


class PlanFailure(Message):
    """Why there is no plan: the user's recipe is wrong."""

    message: str
    file: str = ""
    line: int = 0
    recipe: str = ""
    hint: str = ""
    snippet: str = ""


class Outcome(Message):
    """What really happened at one step of an operation."""

    step: str = ""
    """Identity of the step that this happened to."""
    fact: FactAnswer | None = None
    command: CommandAnswer | None = None
    changes: str = ""
    """What a function of the recipe has changed in its process."""


class PlanRequest(Message):
    """Everything that a plan depends on."""

    recipe_paths: tuple[str, ...]
    recipes: tuple[str, ...]
    node: NodeSnapshot
    known: dict[str, FactAnswer] = Field(default_factory=dict)
    """Facts by shell command: what to assume where nothing is proven."""
    expected: dict[str, tuple[tuple[str, FactAnswer], ...]] = Field(default_factory=dict)
    """Per place of an operation: what the facts that it reads after something was written are likely to be."""
    prepared: dict[str, FactAnswer] | None = None
    """Facts that recipe bodies read directly, pinned at their first answers once something ran."""
    resumed: tuple[int, ...] = ()
    """Operations that have changed something in an earlier run, which this one resumes."""
    origin: str = ""
    """The command that the resumed run was about; random names of pyinfra are the same as there."""
    moment: str = ""
    """The time of the resumed run."""
    seed: str = ""
    """A secret of the run; all chance in its recipes comes from it."""
    trace: tuple[tuple[Outcome, ...], ...] = ()
    """Per operation that began: what happened at its steps."""
    began: tuple[str, ...] = ()
    """Per operation that began: its identity."""
    done: int = 0
    """Operations below this index are complete."""
    call: int = -1
    """The operation whose function may be called now; no plan calls one that it was not asked to call."""
    facts: tuple[str, ...] = ()
    """Only read these facts, such as ``server.Os``."""
    prepare_only: bool = False
    """Only find out whether the recipes are usable."""


class HostPlan(Message):
    """The value of a run list, as far as it is known."""

    operations: tuple[PlannedOperation, ...] = ()
    missing: tuple[FactStep, ...] = ()
    """Facts without an answer, in order of their first use."""
    prepared: tuple[str, ...] = ()
    """Keys of the facts that recipe bodies read directly."""
    reads: Reads = Field(default_factory=Reads)
    facts: dict[str, Any] = Field(default_factory=dict)
    """Values of the facts that were asked for, as JSON."""
    failure: PlanFailure | None = None
    output: str = ""
    """What the recipes printed."""
    seconds: float = 0.0
    again: bool = False
    """The process that made it can make another one: nothing was left behind in it."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Files outside the recipe paths that were read: path -> stamp."""
    passwords: dict[str, str] = Field(default_factory=dict)
    """Variable of the host's shell -> password, which the steps mention by that name only."""
    lasting: bool = False
    """It follows from the request alone: neither chance nor the clock nor a process or network had a part in it."""
