"""Machines that exist already, as an inventory describes them, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from opsflow.errors import ConfigError, Problem, ProviderError, did_you_mean


class InventoryError(ConfigError, ProviderError):
    """An inventory cannot be read or says something that makes no sense."""


def wrong(
    file: Path, message: str, *, line: int | None = None, path: str = "", hint: str | None = None
) -> InventoryError:
    """The error for one problem in an inventory."""
    return InventoryError([Problem(file=str(file), line=line, path=path, message=message, hint=hint)])


class Host(BaseModel):
    """One machine. What is absent comes from ``compute: {ssh: ...}`` of the stack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    address: str = Field(pattern=r"^[A-Za-z0-9_.:%\-]+$")
    """Name or IP address; default: the host's name."""
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]*\$?$")
    key: Path | None = None
    """Private key file."""
    host_keys: tuple[str, ...] = ()
    """OpenSSH public keys that the machine may show."""
    known_hosts: Path | None = None
    policy: Literal["strict", "accept-new"] | None = None
    groups: tuple[str, ...] = ()
    data: dict[str, Any] = Field(default_factory=dict)
    refused: str | None = None
    """Why opsflow cannot use it; told when an instance wants it, so that others can be used."""


class Inventory(BaseModel):
    """The machines of one inventory, in its order."""

    model_config = ConfigDict(frozen=True)

    file: Path
    hosts: dict[str, Host]

    def host(self, name: str) -> Host:
        """The host of that name.

        Raises:
            ProviderError: there is none, or it cannot be used.
        """
        host = self.hosts.get(name)
        if host is None:
            meant = did_you_mean(name, self.hosts)
            some = ", ".join(list(self.hosts)[:10]) or "none"
            raise ProviderError(
                f"{self.file}: there is no host '{name}'{f'; {meant}' if meant else ''}",
                hint=f"Its hosts: {some}. Give the instance host: NAME to use another one.",
            )
        if host.refused:
            raise ProviderError(f"{self.file}: host '{name}' cannot be used: {host.refused}")
        return host


def make_host(file: Path, fields: Mapping[str, Any], *, line: int | None = None) -> Host:
    """A host from checked fields; paths are relative to the inventory.

    Raises:
        InventoryError: a field has a value that does not fit.
    """
    ready = {key: value for key, value in fields.items() if value is not None}
    for key in ("key", "known_hosts"):
        if key in ready:
            ready[key] = file.parent / Path(str(ready[key])).expanduser()
    try:
        return Host.model_validate(ready)
    except ValidationError as error:
        problems = [
            Problem(
                file=str(file),
                line=line,
                path="/".join(("hosts", str(fields.get("name", "?")), *map(str, problem["loc"]))),
                message=f"{problem['msg'][:1].lower()}{problem['msg'][1:]}; this is {problem['input']!r}",
            )
            for problem in error.errors()
        ]
        raise InventoryError(problems) from error
