"""YAML and JSON documents, read with what inventories need: no surprises and errors with a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from opsflow.errors import Problem
from opsflow.providers.compute.static.inventory import InventoryError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 10_000_000


class _Loader(_Base):  # type: ignore[misc]
    """Refuses a key that is written twice: one of the two hosts would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"'{key.value}' is written twice", key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_text(file: Path) -> str:
    """The text of an inventory file.

    Raises:
        InventoryError: it is not there, not readable, too large or not UTF-8.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InventoryError([Problem(file=str(file), message=f"cannot be read: {error.strerror}")]) from error
    if len(raw) > LARGEST:
        raise InventoryError([Problem(file=str(file), message="is larger than 10 MB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InventoryError([Problem(file=str(file), message="is not UTF-8 text")]) from error


def parse(file: Path, text: str) -> Any:
    """The document's value.

    Raises:
        InventoryError: it is not YAML, or holds a tag such as Ansible's !vault.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        raise InventoryError([_problem(file, text, error)]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InventoryError([Problem(file=str(file), message=f"is not YAML: {error}")]) from error


def _problem(file: Path, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark
    message = error.problem or "is not YAML"
    hint = None
    if "!vault" in message:
        message, hint = "holds a vault-encrypted value, which opsflow cannot read", "Keep secrets in another file."
    if mark is None:
        return Problem(file=str(file), message=message, hint=hint)
    lines = text.splitlines()
    snippet = lines[mark.line] if mark.line < len(lines) else None
    return Problem(str(file), message, line=mark.line + 1, column=mark.column + 1, snippet=snippet, hint=hint)
