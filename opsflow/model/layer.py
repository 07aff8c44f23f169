"""Layers: instances with the same job."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from opsflow.model.attributes import Attributes
from opsflow.model.base import Misfit, Model
from opsflow.model.compute import Timeouts
from opsflow.model.events import Recipes, RecipesField
from opsflow.model.instance import Instance, MachineSettings
from opsflow.model.names import InstanceName
from opsflow.model.paths import AbsolutePath
from opsflow.model.scaling import Scaling
from opsflow.model.tags import Tags

RESERVED_MOUNTS = ("/srv/www", "/var/www", "/var/log/apache2", "/var/log/httpd", "/var/log/mysql")


class Shutdown(Model):
    """How an instance of the layer is stopped (OpsWorks: LifecycleEventConfiguration)."""

    timeout: float = Field(default=120, ge=0, le=3600)
    """Seconds that the shutdown recipes may take; then the machine is stopped anyway."""
    drain: bool = True
    """Leave the load balancer and wait for its connections first."""


_SIZES = {"standard": (1, 1024), "io1": (4, 16384), "io2": (4, 16384), "st1": (125, 16384), "sc1": (125, 16384)}
_FEWEST_DISKS = {0: 2, 1: 2, 5: 3, 6: 4, 10: 4}


class Volume(Model):
    """A disk that every instance of the layer gets (OpsWorks: VolumeConfiguration)."""

    mount_point: AbsolutePath
    number_of_disks: int = Field(ge=1, le=26)
    size: int = Field(ge=1, le=16384)
    """Total size in GiB."""
    raid_level: Literal[0, 1, 5, 6, 10] | None = None
    volume_type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    iops: int | None = Field(default=None, ge=100)
    encrypted: bool = False

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.mount_point.rstrip("/") in RESERVED_MOUNTS:
            raise Misfit(
                f"'{self.mount_point}' is reserved", "mount_point", hint="mount it elsewhere, such as /srv/data"
            )
        smallest, largest = _SIZES.get(self.volume_type, (1, 16384))
        if not smallest <= self.size <= largest:
            raise Misfit(f"a {self.volume_type} volume has {smallest} to {largest} GiB, not {self.size}", "size")
        fewest = 1 if self.raid_level is None else _FEWEST_DISKS[self.raid_level]
        if self.number_of_disks < fewest:
            raise Misfit(f"RAID {self.raid_level} needs at least {fewest} disks", "number_of_disks")
        if self.volume_type in ("io1", "io2") and self.iops is None:
            raise Misfit(f"an {self.volume_type} volume needs iops", "volume_type", hint="write iops: 3000")
        return self


class LogStream(Model):
    """A file that is sent to a log group (OpsWorks: CloudWatchLogsLogStream)."""

    file: str
    log_group_name: str = Field(min_length=1, max_length=512)
    datetime_format: str | None = None
    time_zone: Literal["LOCAL", "UTC"] = "UTC"
    file_fingerprint_lines: str = "1"
    multi_line_start_pattern: str | None = None
    initial_position: Literal["start_of_file", "end_of_file"] = "start_of_file"
    encoding: str = "utf_8"
    buffer_duration: int = Field(default=5000, ge=5000)
    batch_count: int = Field(default=1000, ge=1, le=10000)
    batch_size: int = Field(default=32768, ge=1, le=1048576)


class Layer(Model):
    """One layer (OpsWorks: Layer). Its short name is its key under ``layers``."""

    name: str | None = Field(default=None, max_length=32)
    """A longer name for people."""
    recipes: RecipesField = Field(default_factory=Recipes)
    instances: dict[InstanceName, Instance] = Field(default_factory=dict)
    attributes: Attributes = Field(default_factory=dict)
    machine: MachineSettings = Field(default_factory=MachineSettings)
    """Defaults for the machines of the layer."""
    scaling: Scaling | None = None
    auto_healing: bool = True
    shutdown: Shutdown = Field(default_factory=Shutdown)
    packages: tuple[str, ...] = ()
    """Operating system packages that the layer needs: `node.packages`, which `base.setup` installs."""
    volumes: tuple[Volume, ...] = ()
    elastic_load_balancer: str | None = None
    auto_assign_elastic_ips: bool = False
    auto_assign_public_ips: bool = False
    security_group_ids: tuple[str, ...] = ()
    logs: tuple[LogStream, ...] = ()
    tags: Tags = Field(default_factory=dict)
    """Tags of the layer's machines, besides those of the stack."""
    timeouts: Timeouts | None = None
    """Time limits of this layer's instances instead of the stack's."""
