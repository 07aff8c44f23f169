"""The names that users choose: what they may look like, and why another was refused."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

RESERVED = frozenset(
    {
        "all",
        "any",
        "none",
        "self",
        "localhost",
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "con",
        "prn",
        "aux",
        "nul",
    }
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)}
)


def _strange(value: str) -> str | None:
    """The first character that is not plain printable ASCII, described; None when there is none."""
    for char in value:
        if not (" " < char < "\x7f"):
            name = unicodedata.name(char, "a control character")
            return f"contains U+{ord(char):04X} ({name.lower()}); only plain ASCII is allowed, look-alikes are not"
    return None


def _check(kind: str, pattern: str, rule: str, longest: int) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        strange = _strange(value)
        if strange:
            raise ValueError(f"{kind} {strange}")
        if len(value) > longest:
            raise ValueError(f"{kind} has {len(value)} characters; at most {longest} are allowed")
        if value.lower() in RESERVED:
            raise ValueError(f"{kind} '{value}' is reserved; choose another name")
        if not compiled.fullmatch(value):
            raise ValueError(f"{kind} '{value}' is not allowed: {rule}")
        return value

    return AfterValidator(check)


StackName = Annotated[
    str,
    _check(
        "stack name",
        r"[a-z][a-z0-9-]*[a-z0-9]|[a-z]",
        "use a-z, 0-9 and '-', starting with a letter, not ending with '-'",
        40,
    ),
]
LayerName = Annotated[
    str,
    _check(
        "layer name",
        r"[a-z0-9][a-z0-9_.-]*",
        "use a-z, 0-9, '-', '_' and '.', starting with a letter or digit",
        32,
    ),
]
InstanceName = Annotated[
    str,
    _check(
        "instance name",
        r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
        "use a-z, 0-9 and '-', not at either end (it becomes the hostname)",
        63,
    ),
]
AppName = Annotated[
    str,
    _check("app name", r"[a-z0-9][a-z0-9_-]*", "use a-z, 0-9, '-' and '_', starting with a letter or digit", 64),
]
ScheduleName = Annotated[
    str,
    _check(
        "schedule name",
        r"[a-z0-9][a-z0-9_-]*",
        "use a-z, 0-9, '-' and '_', starting with a letter or digit",
        64,
    ),
]
ModuleName = Annotated[
    str,
    _check(
        "recipe module",
        r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*",
        "write the module's Python name, such as 'nginx'",
        200,
    ),
]
RecipeName = Annotated[
    str,
    _check(
        "recipe",
        r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+",
        "write 'module.function', such as 'nginx.setup' for the function setup in recipes/nginx.py",
        200,
    ),
]
