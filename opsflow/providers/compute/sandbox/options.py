"""What a stack file may say under ``compute: {options: ...}`` for sandboxes."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from opsflow.errors import ProviderError, did_you_mean
from opsflow.model.attributes import Attributes

DISK = "4g"
SMALLEST_DISK, LARGEST_DISK = 64 << 20, 1 << 40


class Options(BaseModel):
    """The options of the sandbox provider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: str = "/"
    """A directory or tarball to use as root instead of this machine's own; relative to the project."""
    disk: str | None = Field(default=None, pattern=r"^[1-9][0-9]*[kmgKMG]$")
    """The most that a sandbox may write on its disk, such as 500m; default: 4g where loop devices work."""
    memory: str | None = Field(default=None, pattern=r"^[1-9][0-9]*[kmgKMG]$")
    """The most memory a sandbox may use, such as 512m; needs a writable cgroup file system."""
    processes: int | None = Field(default=None, ge=16, le=100_000)
    """The most processes a sandbox may have; needs a writable cgroup file system. Default: 4096 where possible."""

    @classmethod
    def parse(cls, options: Attributes) -> Self:
        """Check what the user wrote.

        Raises:
            ProviderError: an option is unknown or has a value that does not fit.
        """
        for name in options:
            if name not in cls.model_fields:
                meant = did_you_mean(name, cls.model_fields)
                known = ", ".join(cls.model_fields)
                raise ProviderError(
                    f"compute/options/{name}: the sandbox provider has no such option{f'; {meant}' if meant else ''}",
                    hint=f"Its options are {known}.",
                )
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            problem = error.errors()[0]
            raise ProviderError(f"compute/options/{problem['loc'][0]}: {problem['msg']}") from error

    def root_path(self, project: Path) -> Path:
        """The root as an absolute path."""
        return (project / self.root).resolve()

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit as a number."""
        if self.memory is None:
            return None
        return _bytes(self.memory)

    @property
    def disk_bytes(self) -> int:
        """The size of the disk as a number."""
        return _bytes(self.disk or DISK)

    @field_validator("disk")
    @classmethod
    def _sensible(cls, disk: str | None) -> str | None:
        if disk is not None and not SMALLEST_DISK <= _bytes(disk) <= LARGEST_DISK:
            raise ValueError("a disk has 64m to 1024g")
        return disk


def _bytes(size: str) -> int:
    return int(size[:-1]) << {"k": 10, "m": 20, "g": 30}[size[-1].lower()]
