"""What opsflow knows about a stack: the observed side of planning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from opsflow.model.base import Model
from opsflow.model.instance import Runs
from opsflow.model.machine import Machine


class InstanceStatus(StrEnum):
    """OpsWorks API, Instance.Status."""

    REQUESTED = "requested"
    PENDING = "pending"
    BOOTING = "booting"
    RUNNING_SETUP = "running_setup"
    ONLINE = "online"
    REBOOTING = "rebooting"
    STOPPING = "stopping"
    SHUTTING_DOWN = "shutting_down"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    STOPPED = "stopped"
    SETUP_FAILED = "setup_failed"
    START_FAILED = "start_failed"
    STOP_FAILED = "stop_failed"
    CONNECTION_LOST = "connection_lost"


MEMBERS = frozenset({InstanceStatus.ONLINE, InstanceStatus.REBOOTING})
"""The statuses of members of the stack: a reboot takes nobody out, no event says that it is over."""


class Deployed(Model):
    """An app on an instance."""

    revision: str
    """Commit or content digest of the source that was deployed."""
    release: str
    """Directory name under releases/."""
    previous: tuple[str, ...] = ()
    """Earlier releases that are still there, newest first: what rollback goes back to."""
    revisions: Mapping[str, str] = Field(default_factory=dict)
    """Earlier release -> its whole revision; records of earlier versions have none."""
    attempted: str = ""
    """Release of a later deploy that began and did not succeed: on the instance it may be the current one."""
    deploy_to: str
    """Its directory on the instance, kept so that an app which left the stack file can still be undeployed."""
    at: datetime
    pinned: bool = False
    """Somebody chose this revision (`deploy --revision`, rollback): instances that are set up later get the same."""

    @property
    def rollback_to(self) -> str | None:
        """Where rollback goes: after a failed deploy to this release, else to the one before; None: nowhere."""
        return self.release if self.attempted else next(iter(self.previous), None)

    def revision_of(self, release: str) -> str:
        """The revision of this or an earlier release, as much of it as is known."""
        return self.revision if release == self.release else self.revisions.get(release, release)


class InstanceState(Model):
    """One instance as it is now. A record may exist without a machine."""

    stack: str
    name: str
    layers: tuple[str, ...]
    runs: Runs = "always"
    status: InstanceStatus = InstanceStatus.STOPPED
    generation: int = 0
    """Counts machines; with stack and name it makes the provider's token."""
    token: str | None = None
    """Written before the provider is asked, so that no machine can be orphaned."""
    provider: str | None = None
    """Who made its machine, or was asked to; unknown in records of earlier versions."""
    machine: Machine | None = None
    """The one that was set up, as it was: when the provider describes another one by now, `up` has to start that."""
    known_by: tuple[str, ...] = ()
    """The last host keys that were known of it, when none is known any more."""
    apps: Mapping[str, Deployed] = Field(default_factory=dict)
    applied: Mapping[str, str] = Field(default_factory=dict)
    """Event -> digest of what its last successful run was made from (run list, recipes, attributes)."""
    wanted: bool = True
    """False after the user stopped it by hand: `up` starts it again, the scheduler does not."""
    reason: str = ""
    """Why it has this status, in words."""
    created_at: datetime
    changed_at: datetime
    online_since: datetime | None = None

    @property
    def online(self) -> bool:
        """Whether it counts as a member of the stack."""
        return self.status in MEMBERS


class StackState(Model):
    """Everything observed of one stack at one moment."""

    stack: str
    version: int = 0
    """Grows with every change; part of a saved plan's fingerprint."""
    instances: Mapping[str, InstanceState] = Field(default_factory=dict)

    @property
    def online(self) -> tuple[str, ...]:
        """Names of the online instances, those that reboot included, in order of creation."""
        return tuple(name for name, state in self.instances.items() if state.online)
