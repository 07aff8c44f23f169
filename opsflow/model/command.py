"""Commands and deployments: what was asked for and what became of it (OpsWorks API: Command, Deployment)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from opsflow.model.attributes import Attributes
from opsflow.model.base import Model


class CommandStatus(StrEnum):
    """What became of one event on one instance."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The instance was not in a state in which the command makes sense."""
    SUPERSEDED = "superseded"
    """A newer configure took its place before it began."""
    EXPIRED = "expired"
    """It overran its time limit."""
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can change it any more."""
        return self not in (CommandStatus.PENDING, CommandStatus.RUNNING)


class CommandType(StrEnum):
    """The five lifecycle events, and the commands that are not events."""

    SETUP = "setup"
    CONFIGURE = "configure"
    DEPLOY = "deploy"
    UNDEPLOY = "undeploy"
    SHUTDOWN = "shutdown"
    EXECUTE_RECIPES = "execute_recipes"
    ROLLBACK = "rollback"


class Command(Model):
    """One event (or list of recipes) on one instance."""

    id: str
    run: str
    """The run (deployment) that it belongs to."""
    stack: str
    instance: str
    type: CommandType
    recipes: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    attributes: Attributes = Field(default_factory=dict)
    """Custom JSON of this deployment only, secret values masked."""
    reason: str = ""
    """Why it was fired, such as 'app2 came online'."""
    status: CommandStatus = CommandStatus.PENDING
    epoch: int = 0
    """The controller's lease epoch that ran it."""
    detail: str = ""
    """Why it failed, was skipped ..., in one line."""
    exit_code: int | None = None
    created_at: datetime
    acknowledged_at: datetime | None = None
    completed_at: datetime | None = None


class RunStatus(StrEnum):
    """Deployment.Status of OpsWorks, and what an interrupted or cancelled one becomes."""

    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class Run(Model):
    """One request of a user (OpsWorks: Deployment): it becomes commands on several instances."""

    id: str
    """Counts up from 1 in each store."""
    stack: str
    action: str
    """up, run, deploy, start, stop, destroy ..."""
    request: Mapping[str, object] = Field(default_factory=dict)
    """What was asked for, so that it can be asked again: options, targets, recipes, apps; never a secret."""
    actor: str = ""
    comment: str = ""
    status: RunStatus = RunStatus.RUNNING
    detail: str = ""
    epoch: int = 0
    created_at: datetime
    completed_at: datetime | None = None

    def duration(self) -> int | None:
        """Whole seconds from request to completion."""
        return None if self.completed_at is None else round((self.completed_at - self.created_at).total_seconds())
