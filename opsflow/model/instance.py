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
    no_device: str | None = None
    virtual_name: str | None = None
    snapshot_id: str | None = None
    iops: int | None = Field(default=None, ge=1)
    volume_size: int | None = Field(default=None, ge=1, le=16384)
    volume_type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    delete_on_termination: bool = True


class MachineSettings(Model):
    """What machine an instance wants; a stack and a layer may give defaults. Absent means the provider's default."""

    os: str | None = None
    instance_type: str | None = None
    architecture: Literal["x86_64", "arm64"] | None = None
    ami_id: str | None = Field(default=None, pattern=r"^ami-[0-9a-f]+$", examples=["ami-0123456789abcdef0"])
    availability_zone: str | None = None
    subnet_id: str | None = None
    ssh_key_name: str | None = None
    instance_profile_arn: str | None = None
    root_device_type: Literal["ebs", "instance-store"] | None = None
    ebs_optimized: bool | None = None
    tenancy: Literal["default", "dedicated", "host"] | None = None
    security_group_ids: tuple[str, ...] | None = None
    install_updates_on_boot: bool | None = None


class Instance(MachineSettings):
    """One machine of a stack. Its name is its key and becomes its hostname."""

    layers: tuple[LayerName, ...] = ()
    """Further layers; an instance under a layer belongs to that one anyway."""
    runs: Runs = "always"
    hours: HoursField | None = None
    """When a `time` instance runs, such as {mon-fri: 8-20}."""
    timezone: TimeZone = "UTC"
    attributes: Attributes = Field(default_factory=dict)
    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_\[][^\s]{0,254}$", examples=["db1.example.net"])
    """Name of the machine in the inventory (static provider); default: the instance's own name."""
    elastic_ip: IpAddress | None = None
    block_device_mappings: tuple[BlockDeviceMapping, ...] = ()
    volumes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _hours_fit(self) -> Self:
        if self.runs == "time" and not (self.hours and any(self.hours.values())):
            raise Misfit("'runs: time' needs hours", "runs", hint="write hours, such as {mon-fri: 8-20}")
        if self.runs != "time" and self.hours:
            raise Misfit("hours belong to an instance with 'runs: time'", "hours", hint="write runs: time")
        return self
