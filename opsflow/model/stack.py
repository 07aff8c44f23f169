"""A stack as the user declares it: one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from opsflow.model.app import App
from opsflow.model.attributes import Attributes, merge_all
from opsflow.model.base import Misfit, Model
from opsflow.model.compute import Compute, Timeouts
from opsflow.model.instance import Instance, IpAddress, MachineSettings
from opsflow.model.layer import Layer
from opsflow.model.names import AppName, InstanceName, LayerName, ScheduleName, StackName
from opsflow.model.paths import InsidePath
from opsflow.model.references import broken_references
from opsflow.model.schedule import Schedule
from opsflow.model.tags import Tags

BROKEN_REFERENCES = "broken_references"
"""Type of the validation error of a stack whose parts name each other wrongly."""

_MEMBERS = {"instances": {"__all__": {"layers"}}}
_REFERENCES: dict[str, Any] = {
    "layers": {"__all__": _MEMBERS},
    **_MEMBERS,
    "apps": {"__all__": {"layers"}},
    "schedules": {"__all__": {"layers", "instances"}},
}


class RdsDbInstance(Model):
    """A database instance that is registered with the stack (OpsWorks: RdsDbInstance)."""

    rds_db_instance_arn: str = Field(
        pattern=r"^arn:[a-z-]+:rds:", examples=["arn:aws:rds:eu-west-1:123456789012:db:shop"]
    )
    """Which database instance."""
    db_user: str
    """The user that apps log in as."""
    db_password: SecretStr
    """That user's password; hidden from every output."""


class Stack(Model):
    """Layers, instances and apps that are managed together (OpsWorks: Stack)."""

    stack: StackName
    """The stack's name."""
    compute: Compute
    """Where the machines come from."""
    layers: Annotated[dict[LayerName, Layer], Field(min_length=1)]
    """The layers by their short names; their order counts for instances of several."""
    instances: dict[InstanceName, Instance] = Field(default_factory=dict)
    """Instances that are not written under one layer; each needs `layers`."""
    apps: dict[AppName, App] = Field(default_factory=dict)
    """The code that is deployed, by name."""
    schedules: dict[ScheduleName, Schedule] = Field(default_factory=dict)
    """Events that fire at certain times, by name."""
    attributes: Attributes = Field(default_factory=dict)
    """Settings for recipes: stack < layer < instance < deployment; objects merge, arrays replace."""
    machine: MachineSettings = Field(default_factory=MachineSettings)
    """Defaults for all machines of the stack."""
    recipe_paths: tuple[InsidePath, ...] = ("recipes",)
    """Directories with recipe modules, relative to the project (the directory above `stacks/`)."""
    timeouts: Timeouts = Field(default_factory=Timeouts)
    """Time limits; a layer may have its own."""
    description: str = ""
    """What the stack is for, for people."""
    region: str | None = None
    """Cloud region of the machines."""
    vpc_id: str | None = None
    """Cloud network of the machines."""
    service_role_arn: str | None = None
    """Cloud role that makes the machines."""
    hostname_theme: Literal[
        "Layer_Dependent", "Baked_Goods", "Clouds", "Europe_Cities", "Fruits", "Greek_Deities_and_Titans",
        "Legendary_creatures_from_Japan", "Planets_and_Moons", "Roman_Deities", "Scottish_Islands", "US_Cities",
        "Wild_Cats",
    ] = "Layer_Dependent"  # fmt: skip
    """How instances without a name would be named (OpsWorks: HostnameTheme)."""
    use_opsworks_security_groups: bool = True
    """Whether cloud machines get security groups made for the stack; without, each layer needs `security_group_ids`."""
    rds_db_instances: tuple[RdsDbInstance, ...] = ()
    """Databases that apps name in `data_sources`."""
    elastic_ips: tuple[IpAddress, ...] = ()
    """Addresses that belong to the stack; an instance names its own in `elastic_ip`."""
    tags: Tags = Field(default_factory=dict)
    """Tags of the stack's cloud machines."""

    @model_validator(mode="after")
    def _references(self) -> Self:
        broken = islice(broken_references(self.model_dump(include=_REFERENCES)), 20)
        lines = [f"{'/'.join(str(step) for step in one.at)}: {one.message}" for one in broken]
        if lines:
            raise PydanticCustomError(BROKEN_REFERENCES, "{text}", {"text": "; ".join(lines)})
        return self

    @model_validator(mode="after")
    def _security_groups(self) -> Self:
        if not self.use_opsworks_security_groups:
            for name, layer in self.layers.items():
                if not layer.security_group_ids:
                    message = "without use_opsworks_security_groups every layer needs security_group_ids"
                    raise Misfit(message, "layers", name)
        return self

    @property
    def name(self) -> str:
        """The stack's name."""
        return self.stack

    @cached_property
    def members(self) -> Mapping[str, Instance]:
        """Every instance by name, its ``layers`` complete and in the order of the stack's layers (decision D4)."""
        found: dict[str, Instance] = {}
        for layer_name, layer in self.layers.items():
            for name, instance in layer.instances.items():
                found.setdefault(name, self._in_layers(instance, (layer_name, *instance.layers)))
        for name, instance in self.instances.items():
            found.setdefault(name, self._in_layers(instance, instance.layers))
        return found

    def _in_layers(self, instance: Instance, names: tuple[str, ...]) -> Instance:
        order = {name: number for number, name in enumerate(self.layers)}
        unique = sorted(dict.fromkeys(names), key=lambda name: order.get(name, len(order)))
        return instance.model_copy(update={"layers": tuple(unique)})

    def apps_of(self, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the apps that an instance in ``layers`` gets, in the stack's order."""
        return tuple(name for name, app in self.apps.items() if set(app.layers) & set(layers))

    def attributes_of(self, instance: str, *over: Attributes) -> dict[str, object]:
        """Stack < layers in order (decision D6) < instance < ``over``; objects merge, arrays replace."""
        member = self.members[instance]
        layers = [self.layers[name].attributes for name in member.layers]
        return merge_all([self.attributes, *layers, member.attributes, *over])

    def machine_of(self, instance: str) -> MachineSettings:
        """The machine that ``instance`` wants: its own settings, else its layers', else the stack's."""
        member = self.members[instance]
        wanted: dict[str, object] = {}
        for level in (self.machine, *(self.layers[name].machine for name in member.layers), member):
            wanted |= {key: value for key in MachineSettings.model_fields if (value := getattr(level, key)) is not None}
        return MachineSettings.model_validate(wanted)

    def timeouts_of(self, instance: str) -> Timeouts:
        """The time limits for ``instance``: its first layer that has some, else the stack's."""
        layers = (self.layers[name].timeouts for name in self.members[instance].layers)
        return next((timeouts for timeouts in layers if timeouts), self.timeouts)
