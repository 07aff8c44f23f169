"""Which provider makes the machines of a stack."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from opsflow.model.attributes import Attributes
from opsflow.model.base import Model

ProviderName = Literal["sandbox", "static", "container", "ec2", "fake"]


class Ssh(Model):
    """How machines are reached; what a machine itself says wins."""

    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_.-]{0,31}\$?$", examples=["admin"])
    """The user to log in as; one that is not root needs sudo in recipes."""
    port: int = Field(default=22, ge=1, le=65535)
    """The port of sshd."""
    key: str | None = None
    """Private key file, relative to the stack file, else to the project; default: the provider's, then the user's."""
    known_hosts: str | None = None
    """known_hosts file for static machines, looked for as `key`; default: inventory/known_hosts, ~/.ssh/known_hosts."""
    host_keys: Literal["strict", "accept-new"] = "strict"
    """`accept-new` records an unknown static host's key at first use; a changed key is refused in any case."""


class Compute(Model):
    """The compute provider and its options.

    Options that only one provider understands are checked by that provider.
    """

    provider: ProviderName
    """Who makes the machines: sandboxes on this computer, or static ones of an inventory."""
    options: Attributes = Field(default_factory=dict)
    """Provider options, such as {root: /srv/images/debian.tar} for sandbox or {inventory: hosts.yml} for static."""
    ssh: Ssh = Field(default_factory=Ssh)
    """How the machines are reached."""


class Timeouts(Model):
    """Time limits in seconds, all on by default (decision D1 and the reliability promises)."""

    connect: Annotated[float, Field(gt=0, le=3600)] = 10
    """A TCP connection to a machine."""
    authentication: Annotated[float, Field(gt=0, le=3600)] = 15
    """The SSH handshake and login."""
    boot: Annotated[float, Field(gt=0, le=86400)] = 1200
    """From the request for a machine until it answers over SSH; then `start_failed`."""
    command: Annotated[float, Field(gt=0, le=86400)] = 600
    """One shell command of an operation."""
    run: Annotated[float, Field(gt=0, le=604800)] = 3600
    """One event on one instance; then the command is `expired`."""
