"""Groups of hosts with variables, as Ansible and pyinfra have them, and what they mean for each host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opsflow.providers.compute.static.inventory import Host, Inventory, make_host, wrong

CONNECTION = {
    "address": ("ansible_host", "ansible_ssh_host", "ssh_hostname"),
    "port": ("ansible_port", "ansible_ssh_port", "ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user", "ssh_user"),
    "key": ("ansible_ssh_private_key_file", "ansible_private_key_file", "ssh_key"),
    "known_hosts": ("ssh_known_hosts_file",),
}
"""Field -> the variables that set it, the strongest first."""

REFUSED = {
    "ansible_password": "it logs in with a password; opsflow uses keys only",
    "ansible_ssh_pass": "it logs in with a password; opsflow uses keys only",
    "ssh_password": "it logs in with a password; opsflow uses keys only",
    "ssh_key_password": "its key has a passphrase; load the key into an agent or use one without",
    "ansible_ssh_common_args": "opsflow does not read OpenSSH options (ansible_ssh_common_args), such as a jump host",
    "ansible_ssh_extra_args": "opsflow does not read OpenSSH options (ansible_ssh_extra_args)",
    "ansible_ssh_args": "opsflow does not read OpenSSH options (ansible_ssh_args)",
    "ssh_config_file": "opsflow does not read an OpenSSH configuration (ssh_config_file)",
}


@dataclass
class Group:
    """One group as it is written."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Host -> the variables that are set for it in this place."""
    children: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)


class Groups:
    """All groups of an inventory; ``all`` always exists and holds every host.

    Variables: parents < children, deeper groups win, equals in alphabetical order; then ``group_vars`` in the same
    order; then the host's own; then ``host_vars``.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.groups: dict[str, Group] = {"all": Group()}
        self.group_vars: dict[str, dict[str, Any]] = {}
        self.host_vars: dict[str, dict[str, Any]] = {}

    def group(self, name: str) -> Group:
        """The group of that name, made when it is new."""
        return self.groups.setdefault(name, Group())

    def inventory(self) -> Inventory:
        """Every host with its groups and variables settled.

        Raises:
            InventoryError: groups contain each other in a circle, or a value does not fit.
        """
        depth = {name: self._depth(name, ()) for name in self.groups}
        names = dict.fromkeys(name for group in self.groups.values() for name in group.hosts)
        return Inventory(file=self.file, hosts={name: self._host(name, depth) for name in names})

    def _host(self, name: str, depth: dict[str, int]) -> Host:
        member = sorted(self._groups_of(name), key=lambda group: (depth[group], group))
        values: dict[str, Any] = {}
        for group in member:
            values |= self.groups[group].variables
        for group in member:
            values |= self.group_vars.get(group, {})
        for group in member:
            values |= self.groups[group].hosts.get(name, {})
        values |= self.host_vars.get(name, {})
        return host_of(self.file, name, tuple(group for group in member if group not in {"all", "ungrouped"}), values)

    def _groups_of(self, host: str) -> set[str]:
        found = {"all", *(name for name, group in self.groups.items() if host in group.hosts)}
        while more := {name for name, group in self.groups.items() if found & set(group.children)} - found:
            found |= more
        return found

    def _depth(self, name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise wrong(self.file, f"groups contain each other: {' > '.join((*path, name))}")
        parents = list(self._parents(name))
        return 0 if name == "all" else 1 + max((self._depth(parent, (*path, name)) for parent in parents), default=0)

    def _parents(self, name: str) -> Iterator[str]:
        return (parent for parent, group in self.groups.items() if name in group.children)


def host_of(file: Path, name: str, groups: tuple[str, ...], values: dict[str, Any]) -> Host:
    """A host from its variables: those about the connection become fields, the rest is data for recipes."""
    fields: dict[str, Any] = {"name": name, "address": name, "groups": groups}
    for key, variables in CONNECTION.items():
        found = next((values[variable] for variable in variables if values.get(variable) is not None), None)
        if found is not None:
            fields[key] = found if key == "port" else str(found)
    fields["data"] = {key: value for key, value in values.items() if not key.startswith(("ansible_", "ssh_", "_"))}
    fields["refused"] = _why_refused(fields, values)
    if fields["refused"]:
        # Its fields may be what is wrong with it: keep the host, so that the reason can be told.
        return Host(name=name, address="refused", groups=groups, refused=fields["refused"])
    return make_host(file, fields)


def _why_refused(fields: dict[str, Any], values: dict[str, Any]) -> str | None:
    connection = values.get("ansible_connection", "ssh")
    if connection not in {"ssh", "smart", "paramiko", "paramiko_ssh"}:
        return f"it is not reached over SSH (ansible_connection: {connection})"
    if fields["name"].startswith("@"):
        return "it names a pyinfra connector; opsflow reaches hosts over SSH only"
    for key in ("address", "port", "user", "key"):
        if "{{" in str(fields.get(key, "")):
            return f"its {key} is a template ({fields[key]}), which opsflow does not compute"
    return next((why for variable, why in REFUSED.items() if values.get(variable)), None)
