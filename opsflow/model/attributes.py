"""Attributes (OpsWorks: custom JSON): plain data that a stack hands to its recipes.

Objects merge deeply, arrays and scalars replace (OpsWorks user guide, "Using Custom JSON").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Attributes = Mapping[str, Any]
"""JSON-like data: string keys; values are null, booleans, numbers, strings, lists and objects."""


def merge(base: Attributes, over: Attributes) -> dict[str, Any]:
    """Merge two levels; ``over`` wins. Neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def merge_all(levels: Iterable[Attributes]) -> dict[str, Any]:
    """Merge levels from the weakest to the strongest."""
    merged: dict[str, Any] = {}
    for level in levels:
        merged = merge(merged, level)
    return merged
