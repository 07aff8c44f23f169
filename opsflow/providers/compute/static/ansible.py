"""Ansible inventories: INI, YAML, and what executables print; with group_vars and host_vars beside them."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opsflow.providers.compute.static.documents import parse, read_text
from opsflow.providers.compute.static.groups import Groups
from opsflow.providers.compute.static.inventory import Inventory, wrong
from opsflow.providers.compute.static.ranges import RANGE, expand

Add = Callable[[Groups, str, int, str], None]
"""Adds one line (its group, number and text) to the groups."""

# ------------------------------------------------------------------------------------------------ YAML


def read_yaml(file: Path, document: object) -> Inventory:
    """An inventory of nested groups.

    Raises:
        InventoryError: it is not one.
    """
    groups = Groups(file)
    for name, value in _mapping(file, "", document).items():
        _yaml_group(groups, str(name), value)
    add_variable_files(groups)
    return groups.inventory()


def _yaml_group(groups: Groups, name: str, value: object) -> None:
    group, file = groups.group(name), groups.file
    fields = _mapping(file, name, value)
    for key in fields:
        if key not in {"hosts", "children", "vars"}:
            raise wrong(file, "unknown key", path=f"{name}/{key}", hint="A group has hosts, children and vars.")
    group.variables |= _mapping(file, f"{name}/vars", fields.get("vars"))
    for pattern, variables in _mapping(file, f"{name}/hosts", fields.get("hosts")).items():
        for host, port in _expand(file, str(pattern)):
            own = _mapping(file, f"{name}/hosts/{host}", variables)
            group.hosts.setdefault(host, {}).update({**port, **own})
    for child, inner in _mapping(file, f"{name}/children", fields.get("children")).items():
        group.children.append(str(child))
        _yaml_group(groups, str(child), inner)


# ------------------------------------------------------------------------------------------------ INI


def read_ini(file: Path, text: str) -> Inventory:
    """An inventory of sections.

    Raises:
        InventoryError: a line is not understood.
    """
    groups = Groups(file)
    section = "ungrouped"
    add: Add = _ini_host
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and "]" in line and not _is_pattern(line):
            section, add = _ini_section(file, number, line)
            groups.group(section)
        else:
            add(groups, section, number, line)
    add_variable_files(groups)
    return groups.inventory()


def _is_pattern(line: str) -> bool:
    """Whether the bracket at the start of a line is a range or an IPv6 address, not a section."""
    return RANGE.match(line) is not None or re.match(r"\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]", line) is not None


def _ini_section(file: Path, number: int, line: str) -> tuple[str, Add]:
    name, _, kind = line[1 : line.index("]")].strip().partition(":")
    kinds: dict[str, Add] = {"": _ini_host, "children": _ini_child, "vars": _ini_variable}
    if not name or kind not in kinds:
        raise wrong(
            file, f"'{line}' is not a section", line=number, hint="Write [group], [group:children] or [group:vars]."
        )
    return name, kinds[kind]


def _ini_host(groups: Groups, section: str, number: int, line: str) -> None:
    try:
        pattern, *assignments = shlex.split(line, comments=True)
    except ValueError as error:
        raise wrong(groups.file, f"is not understood: {error}", line=number) from error
    variables = dict(_assignment(groups.file, number, text) for text in assignments)
    for host, port in _expand(groups.file, pattern, number):
        groups.group(section).hosts.setdefault(host, {}).update({**port, **variables})


def _ini_child(groups: Groups, section: str, number: int, line: str) -> None:
    name = line.split("#")[0].strip()
    groups.group(section).children.append(name)
    groups.group(name)


def _ini_variable(groups: Groups, section: str, number: int, line: str) -> None:
    key, value = _assignment(groups.file, number, line)
    groups.group(section).variables[key] = value


def _assignment(file: Path, number: int, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise wrong(file, f"'{text}' is not a variable; write name=value", line=number)
    return key.strip(), _literal(value.strip())


def _literal(text: str) -> Any:
    """Values that look like Python literals are those, as in Ansible; others are text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, (str, int, float, bool, list, dict)) or value is None else text


# ------------------------------------------------------------------------------------------------ --list


def read_listing(file: Path, document: object) -> Inventory:
    """What an executable inventory prints for ``--list``.

    Raises:
        InventoryError: it is not that.
    """
    groups = Groups(file)
    listing = dict(_mapping(file, "", document))
    meta = _mapping(file, "_meta", listing.pop("_meta", None))
    for name, value in listing.items():
        group = groups.group(str(name))
        fields = {"hosts": value} if isinstance(value, list) else _mapping(file, str(name), value)
        for host in _names(file, f"{name}/hosts", fields.get("hosts")):
            group.hosts.setdefault(host, {})
        group.children += _names(file, f"{name}/children", fields.get("children"))
        group.variables |= _mapping(file, f"{name}/vars", fields.get("vars"))
    for child in {child for group in groups.groups.values() for child in group.children}:
        groups.group(child)
    for host, variables in _mapping(file, "_meta/hostvars", meta.get("hostvars")).items():
        groups.host_vars[str(host)] = dict(_mapping(file, f"_meta/hostvars/{host}", variables))
    return groups.inventory()


# ------------------------------------------------------------------------------------------------ shared


def add_variable_files(groups: Groups) -> None:
    """Read ``group_vars/`` and ``host_vars/`` beside the inventory: NAME, NAME.yml, or a directory of such files."""
    for folder, into in (("group_vars", groups.group_vars), ("host_vars", groups.host_vars)):
        for path in sorted((groups.file.parent / folder).glob("*")):
            name = path.stem if path.suffix in {".yml", ".yaml", ".json"} else path.name
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            for file in files:
                if file.is_file() and file.suffix in {"", ".yml", ".yaml", ".json"} and not file.name.startswith("."):
                    into.setdefault(name, {}).update(_mapping(file, "", parse(file, read_text(file))))


def _expand(file: Path, pattern: str, line: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The hosts of a pattern, each with the port that ``name:2222`` or ``[2001:db8::1]:2222`` gives it."""
    try:
        return [_with_port(name) for name in expand(pattern)]
    except ValueError as error:
        raise wrong(file, str(error), line=line) from error


def _with_port(name: str) -> tuple[str, dict[str, Any]]:
    head, colon, tail = name.rpartition(":")
    if colon and tail.isdigit() and (":" not in head or head.endswith("]")):
        return head.strip("[]"), {"ansible_port": int(tail)}
    return name.strip("[]"), {}


def _mapping(file: Path, path: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise wrong(file, f"should be a mapping, not {type(value).__name__}", path=path)
    return value


def _names(file: Path, path: str, value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(file, f"should be a list, not {type(value).__name__}", path=path)
    return [str(name) for name in value]
