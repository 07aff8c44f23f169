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
    """Where it is mounted."""
    number_of_disks: int = Field(ge=1, le=26)
    """Disks that make up the volume."""
    size: int = Field(ge=1, le=16384)
    """Total size in GiB."""
    raid_level: Literal[0, 1, 5, 6, 10] | None = None
    """How the disks are put together; default: not at all."""
    volume_type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    """Kind of cloud disk."""
    iops: int | None = Field(default=None, ge=100)
    """Operations a second; `io1` and `io2` need it."""
    encrypted: bool = False
    """Whether the disks are encrypted."""

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
    """The file, or a pattern such as /var/log/app/*.log."""
    log_group_name: str = Field(min_length=1, max_length=512)
    """The log group that gets it."""
    datetime_format: str | None = None
    """How its lines' times are written, as in strftime."""
    time_zone: Literal["LOCAL", "UTC"] = "UTC"
    """The zone of those times."""
    file_fingerprint_lines: str = "1"
    """The lines that tell a file from another, such as `1` or `2-5`."""
    multi_line_start_pattern: str | None = None
    """What a message begins with; default: every line is one."""
    initial_position: Literal["start_of_file", "end_of_file"] = "start_of_file"
    """Where reading a new file begins."""
    encoding: str = "utf_8"
    """The file's encoding."""
    buffer_duration: int = Field(default=5000, ge=5000)
    """Milliseconds that lines are collected before they are sent."""
    batch_count: int = Field(default=1000, ge=1, le=10000)
    """Most lines that are sent at once."""
    batch_size: int = Field(default=32768, ge=1, le=1048576)
    """Most bytes that are sent at once."""


class Layer(Model):
    """One layer (OpsWorks: Layer). Its short name is its key under ``layers``."""

    name: str | None = Field(default=None, max_length=32)
    """A longer name for people."""
    recipes: RecipesField = Field(default_factory=Recipes)
    """What each lifecycle event runs; a list is short for `{modules: [...]}`."""
    instances: dict[InstanceName, Instance] = Field(default_factory=dict)
    """The instances of the layer, by name."""
    attributes: Attributes = Field(default_factory=dict)
    """Settings for recipes, over the stack's."""
    machine: MachineSettings = Field(default_factory=MachineSettings)
    """Defaults for the machines of the layer."""
    scaling: Scaling | None = None
    """When `load` instances are started and stopped."""
    auto_healing: bool = True
    """Whether an instance that no longer answers is replaced."""
    shutdown: Shutdown = Field(default_factory=Shutdown)
    """How its instances are stopped."""
    packages: tuple[str, ...] = ()
    """Operating system packages that the layer needs: `node.packages`, which `base.setup` installs."""
    volumes: tuple[Volume, ...] = ()
    """Disks that each of its cloud machines gets."""
    elastic_load_balancer: str | None = None
    """Cloud load balancer in front of the layer."""
    auto_assign_elastic_ips: bool = False
    """Whether its cloud machines get a fixed public address."""
    auto_assign_public_ips: bool = False
    """Whether its cloud machines get a public address."""
    security_group_ids: tuple[str, ...] = ()
    """Security groups of its cloud machines."""
    logs: tuple[LogStream, ...] = ()
    """Files of its machines that are sent to a log group."""
    tags: Tags = Field(default_factory=dict)
    """Tags of the layer's machines, besides those of the stack."""
    timeouts: Timeouts | None = None
    """Time limits of this layer's instances instead of the stack's."""
