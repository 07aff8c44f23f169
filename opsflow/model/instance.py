"""Instances as the user declares them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from opsflow.model.attributes import Attributes
from opsflow.model.base import Misfit, Model
from opsflow.model.names import LayerName
from opsflow.model.scaling import HoursField
from opsflow.model.schedule import TimeZone

Runs = Literal["always", "time", "load"]
"""24/7, at the hours of the week, or when the layer's load asks for it (OpsWorks: AutoScalingType)."""


def _ip_address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        raise ValueError(f"'{value[:100]}' is not an IP address such as 203.0.113.7") from None
    return value


IpAddress = Annotated[str, AfterValidator(_ip_address)]


class BlockDeviceMapping(Model):
    """A disk of a cloud machine (OpsWorks API: BlockDeviceMapping)."""

    device_name: str
    """Name of the device, such as /dev/sdh."""
    no_device: str | None = None
    """Leaves a device of the image out."""
    virtual_name: str | None = None
    """A disk of the machine itself, such as ephemeral0."""
    snapshot_id: str | None = None
    """The snapshot that the disk begins with."""
    iops: int | None = Field(default=None, ge=1)
    """Operations a second."""
    volume_size: int | None = Field(default=None, ge=1, le=16384)
    """Size in GiB."""
    volume_type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    """Kind of cloud disk."""
    delete_on_termination: bool = True
    """Whether the disk goes with the machine."""


class MachineSettings(Model):
    """What machine an instance wants; a stack and a layer may give defaults. Absent means the provider's default."""

    os: str | None = None
    """Operating system, as the provider names it."""
    instance_type: str | None = None
    """Size of a cloud machine, such as t3.small."""
    architecture: Literal["x86_64", "arm64"] | None = None
    """Kind of processor."""
    ami_id: str | None = Field(default=None, pattern=r"^ami-[0-9a-f]+$", examples=["ami-0123456789abcdef0"])
    """Image of a cloud machine; instead of `os`."""
    availability_zone: str | None = None
    """Zone of a cloud machine."""
    subnet_id: str | None = None
    """Subnet of a cloud machine."""
    ssh_key_name: str | None = None
    """Key pair that a cloud machine gets."""
    instance_profile_arn: str | None = None
    """Role of a cloud machine."""
    root_device_type: Literal["ebs", "instance-store"] | None = None
    """Where a cloud machine keeps its root."""
    ebs_optimized: bool | None = None
    """Whether a cloud machine has bandwidth of its own for its disks."""
    tenancy: Literal["default", "dedicated", "host"] | None = None
    """Whom a cloud machine shares its hardware with."""
    security_group_ids: tuple[str, ...] | None = None
    """Security groups of a cloud machine."""
    install_updates_on_boot: bool | None = None
    """Whether packages are updated when a machine boots for the first time."""


class Instance(MachineSettings):
    """One machine of a stack. Its name is its key and becomes its hostname."""

    layers: tuple[LayerName, ...] = ()
    """Further layers; an instance under a layer belongs to that one anyway."""
    runs: Runs = "always"
    """24/7, at certain `hours`, or when the load of its layer asks for it."""
    hours: HoursField | None = None
    """When a `time` instance runs, such as {mon-fri: 8-20}."""
    timezone: TimeZone = "UTC"
    """The time zone of `hours`."""
    attributes: Attributes = Field(default_factory=dict)
    """Settings for recipes, over the layers'."""
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_\[][^\s]{0,254}$", examples=["db1.example.net"])
    """Name of the machine in the inventory (static provider); default: the instance's own name."""
    elastic_ip: IpAddress | None = None
    """One of the stack's `elastic_ips`."""
    block_device_mappings: tuple[BlockDeviceMapping, ...] = ()
    """Disks of a cloud machine, in place of those of its image."""
    volumes: tuple[str, ...] = ()
    """Existing cloud volumes to attach."""

    @model_validator(mode="after")
    def _hours_fit(self) -> Self:
        if self.runs == "time" and not (self.hours and any(self.hours.values())):
            raise Misfit("'runs: time' needs hours", "runs", hint="write hours, such as {mon-fri: 8-20}")
        if self.runs != "time" and self.hours:
            raise Misfit("hours belong to an instance with 'runs: time'", "hours", hint="write runs: time")
        return self
