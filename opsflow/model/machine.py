"""A machine as a compute provider reports it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from opsflow.model.attributes import Attributes
from opsflow.model.base import Model
from opsflow.model.instance import MachineSettings


class MachineState(StrEnum):
    """What a provider says about a machine."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GONE = "gone"


class MachineRequest(Model):
    """What a provider is asked for. The same token always names the same machine."""

    token: str = Field(pattern=r"^[a-z0-9-]{8,64}$")
    """Idempotency token: hash of (stack, instance, generation), stored before the call."""
    stack: str
    instance: str
    host: str | None = None
    """Inventory name, for machines that exist already."""
    settings: MachineSettings = Field(default_factory=MachineSettings)
    options: Attributes = Field(default_factory=dict)
    tags: Mapping[str, str] = Field(default_factory=dict)


class Machine(Model):
    """One machine; its OpenSSH host keys (``ssh-ed25519 AAAA...``) are known before the first connection."""

    id: str
    token: str
    state: MachineState
    instance: str | None = None
    """The instance that it was made for, where the provider keeps that: it explains a machine without a record."""
    address: str | None = None
    """Where SSH answers."""
    port: int = Field(default=22, ge=1, le=65535)
    user: str = "root"
    key_file: str | None = None
    """Private key that opens it."""
    host_keys: tuple[str, ...] = ()
    private_address: str | None = None
    public_address: str | None = None
    data: Attributes = Field(default_factory=dict)
    """What the inventory says about it (groups, variables), for recipes."""
