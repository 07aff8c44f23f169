"""opsflow's own inventory format, ``hosts.yml``; described in docs/inventory.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from opsflow.errors import closest
from opsflow.providers.compute.static.inventory import Host, Inventory, make_host, wrong
from opsflow.providers.compute.static.ranges import expand

SECTIONS = ("defaults", "hosts", "groups")
CONNECTION = ("address", "port", "user", "key", "known_hosts", "host_keys")
FIELDS = (*CONNECTION, "host_key", "data")


def is_native(document: object) -> bool:
    """Whether a document looks like this format; Ansible's has groups at the top."""
    if not isinstance(document, Mapping) or "hosts" not in document:
        return False
    hosts = document["hosts"]
    return not (isinstance(hosts, Mapping) and set(hosts) & {"hosts", "children"} and set(document) == {"hosts"})


def read(file: Path, document: Mapping[str, Any]) -> Inventory:
    """The inventory in a document.

    Raises:
        InventoryError: it says something that makes no sense.
    """
    defaults = {**_generated(file, document), **_mapping(file, "defaults", document.get("defaults"))}
    _known(file, "defaults", defaults, FIELDS)
    groups = _groups(file, document.get("groups"))
    hosts: dict[str, Host] = {}
    for pattern, fields in _entries(file, document["hosts"]):
        for name in _expand(file, pattern):
            if name in hosts:
                raise wrong(file, "the host is written twice", path=f"hosts/{name}")
            hosts[name] = _host(file, name, defaults, fields, groups)
    for group, (members, _) in groups.items():
        for name in members:
            if name not in hosts:
                raise wrong(file, f"there is no host '{name}'", path=f"groups/{group}/hosts")
    return Inventory(file=file, hosts=hosts)


def _generated(file: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """What a generated JSON file says for all hosts at its top; a YAML file may have its three sections only."""
    if file.suffix == ".json":
        return {key: document[key] for key in ("user", "port", "key", "known_hosts") if key in document}
    _known(file, "", document, SECTIONS)
    return {}


def _host(
    file: Path, name: str, defaults: Mapping[str, Any], own: Mapping[str, Any], groups: Mapping[str, Any]
) -> Host:
    fields: dict[str, Any] = {**defaults, **own}
    data = dict(_mapping(file, "defaults/data", defaults.get("data")))
    member = [group for group, (members, _) in groups.items() if name in members]
    for group in member:
        data |= groups[group][1]
    # Anything that is not about the connection is data, for recipes.
    data |= {key: value for key, value in own.items() if key not in FIELDS and key != "name"}
    data |= _mapping(file, f"hosts/{name}/data", own.get("data"))
    keys, policy = _host_keys(fields)
    return make_host(
        file,
        {
            "name": name,
            "address": str(fields.get("address") or name),
            **{key: fields.get(key) for key in ("port", "user", "key", "known_hosts")},
            "host_keys": keys,
            "policy": policy,
            "groups": tuple(member),
            "data": data,
        },
    )


def _host_keys(fields: Mapping[str, Any]) -> tuple[object, object]:
    """``host_key`` is one key or a list; ``host_keys`` is the policy, as in a stack file."""
    keys = fields.get("host_key")
    if keys is None:
        keys = ()
    return (keys,) if isinstance(keys, str) else keys, fields.get("host_keys")


def _entries(file: Path, hosts: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Hosts as a mapping by name, or as a list of objects with a ``name``, or of names."""
    if isinstance(hosts, Mapping):
        entries = [(str(name), fields) for name, fields in hosts.items()]
    elif isinstance(hosts, list):
        entries = [
            (str(item.get("name", "")), item) if isinstance(item, Mapping) else (str(item), None) for item in hosts
        ]
    else:
        raise wrong(file, "should map host names to their settings", path="hosts")
    for name, fields in entries:
        if not name:
            raise wrong(file, "a host has no name", path="hosts")
        settings = _mapping(file, f"hosts/{name}", fields)
        _close(file, f"hosts/{name}", settings)
        yield name, settings


def _groups(file: Path, groups: object) -> dict[str, tuple[list[str], dict[str, Any]]]:
    found = {}
    for name, value in _mapping(file, "groups", groups).items():
        fields = {"hosts": value} if isinstance(value, list) else _mapping(file, f"groups/{name}", value)
        _known(file, f"groups/{name}", fields, ("hosts", "data"))
        members = fields.get("hosts") or []
        if not isinstance(members, list):
            raise wrong(file, "should be a list of host names", path=f"groups/{name}/hosts")
        names = [host for pattern in members for host in _expand(file, str(pattern))]
        found[str(name)] = (names, dict(_mapping(file, f"groups/{name}/data", fields.get("data"))))
    return found


def _expand(file: Path, pattern: str) -> list[str]:
    try:
        return expand(pattern)
    except ValueError as error:
        raise wrong(file, str(error), path="hosts") from error


def _mapping(file: Path, path: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong(file, f"should be a mapping, not {value!r}", path=path)
    return value


def _known(file: Path, path: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in fields:
        if key not in known:
            close = closest(str(key), known)
            hint = f"Did you mean '{close}'?" if close else f"Known here: {', '.join(known)}."
            raise wrong(file, "unknown key", path=f"{path}/{key}".lstrip("/"), hint=hint)


def _close(file: Path, path: str, fields: Mapping[str, Any]) -> None:
    """A typing error in a connection field must not silently become data."""
    for key in fields:
        close = None if key in FIELDS or key == "name" else _resembled(str(key))
        if close:
            raise wrong(
                file,
                "unknown key",
                path=f"{path}/{key}",
                hint=f"Did you mean '{close}'? Your own data can stand under 'data'.",
            )


@lru_cache(maxsize=4096)
def _resembled(key: str) -> str | None:
    """The connection field that a key is nearly the name of; hosts by the hundred have the same keys."""
    return closest(key, FIELDS, cutoff=0.8)
