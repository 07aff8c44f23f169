"""The data behind a node: the whole stack as it is when a run list starts. Plain JSON, crosses process borders."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from opsflow.model.attributes import Attributes
from opsflow.model.base import Model
from opsflow.model.state import MEMBERS


class MemberSnapshot(Model):
    """One instance as recipes of others see it."""

    name: str
    layers: tuple[str, ...]
    status: str
    address: str | None = None
    private_address: str | None = None
    public_address: str | None = None
    ssh_port: int = 22
    user: str = "root"
    data: Attributes = Field(default_factory=dict)

    @property
    def online(self) -> bool:
        """Whether it counts as a member of the stack."""
        return self.status in MEMBERS


class AppSnapshot(Model):
    """One app as recipes see it."""

    name: str
    layers: tuple[str, ...]
    revision: str
    """Commit or content digest; empty when the source was not fetched for this event."""
    release: str
    """Directory name under releases/; the same revision and environment give the same name."""
    bundle: str | None = None
    """Deterministic .tar.gz of the source on the controller, for files.put; only in setup, deploy, execute_recipes."""
    deploy_to: str
    keep_releases: int = 5
    environment: Mapping[str, str] = Field(default_factory=dict)
    secure: tuple[str, ...] = ()
    """Environment keys whose values are secret."""
    domains: tuple[str, ...] = ()
    attributes: Attributes = Field(default_factory=dict)
    deploy: bool = False
    """Whether this event deploys (or undeploys, or rolls back) the app."""
    rollback_to: str | None = None
    """The release that a rollback goes back to."""


class EventSnapshot(Model):
    """Why the run list runs."""

    type: str
    reason: str
    run: str = ""
    command: str = ""
    sent_at: str = ""
    """ISO 8601, UTC: the run's time. Recipes use it instead of the clock."""


class NodeSnapshot(Model):
    """Everything a recipe may see."""

    stack: str
    name: str
    layers: tuple[str, ...]
    members: tuple[MemberSnapshot, ...]
    """Every instance of the stack, whatever its status; layers list them in order."""
    layer_names: tuple[str, ...]
    attributes: Attributes = Field(default_factory=dict)
    apps: tuple[AppSnapshot, ...] = ()
    """The apps of this instance's layers, in the stack's order."""
    packages: tuple[str, ...] = ()
    """Packages of its layers."""
    event: EventSnapshot
    secrets: tuple[str, ...] = ()
    """Values to mask in every output."""
