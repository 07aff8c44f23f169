"""Which values are secret, judged by the names that they stand under."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_NAME = re.compile(
    r"pas+w|pwd|passphrase|secret|token|credential|private_?key|ssh_?key$|api_?key|access_?key$|auth_?key",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether what stands under such a name is a secret."""
    return SECRET_NAME.search(name) is not None


def secret_values(data: object) -> Iterator[str]:
    """Every text and number below a secret name in JSON-like data."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _leaves(value) if is_secret_name(str(name)) else secret_values(value)
    elif isinstance(data, list | tuple):
        for item in data:
            yield from secret_values(item)


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def without_secret_values(data: Any, mask: str) -> Any:
    """JSON-like data with ``mask`` for what stands below a secret name; switches and nothing are no secrets."""
    if isinstance(data, Mapping):
        return {
            name: _masked(value, mask) if is_secret_name(str(name)) else without_secret_values(value, mask)
            for name, value in data.items()
        }
    if isinstance(data, list | tuple):
        return [without_secret_values(item, mask) for item in data]
    return data


def _masked(value: Any, mask: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked(item, mask) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, mask) for item in value]
    return value if value is None or isinstance(value, bool) else mask
