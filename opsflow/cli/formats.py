"""How data is printed."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What ``--output`` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
