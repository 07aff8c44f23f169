"""The names that users choose: what they may look like, and why another was refused."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

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


@dataclass(frozen=True, slots=True)
class _Name:
    """The rule for one kind of name."""

    kind: str
    pattern: str
    rule: str
    longest: int

    def check(self, value: str) -> str:
        strange = _strange(value)
        if strange:
            raise ValueError(f"{self.kind} {strange}")
        if len(value) > self.longest:
            raise ValueError(f"{self.kind} has {len(value)} characters; at most {self.longest} are allowed")
        if value.lower() in RESERVED:
            raise ValueError(f"{self.kind} '{value}' is reserved; choose another name")
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"{self.kind} '{value}' is not allowed: {self.rule}")
        return value

    def __get_pydantic_core_schema__(self, source: type, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        reserved = "|".join(sorted(RESERVED))
        return {**handler(core), "pattern": f"^(?!(?:{reserved})$)(?=.{{1,{self.longest}}}$)(?:{self.pattern})$"}


StackName = Annotated[
    str,
    _Name(
        "stack name",
        r"[a-z][a-z0-9-]*[a-z0-9]|[a-z]",
        "use a-z, 0-9 and '-', starting with a letter, not ending with '-'",
        40,
    ),
]
LayerName = Annotated[
    str,
    _Name(
        "layer name",
        r"[a-z0-9][a-z0-9_.-]*",
        "use a-z, 0-9, '-', '_' and '.', starting with a letter or digit",
        32,
    ),
]
InstanceName = Annotated[
    str,
    _Name(
        "instance name",
        r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
        "use a-z, 0-9 and '-', not at either end (it becomes the hostname)",
        63,
    ),
]
AppName = Annotated[
    str,
    _Name("app name", r"[a-z0-9][a-z0-9_-]*", "use a-z, 0-9, '-' and '_', starting with a letter or digit", 64),
]
ScheduleName = Annotated[
    str,
    _Name(
        "schedule name",
        r"[a-z0-9][a-z0-9_-]*",
        "use a-z, 0-9, '-' and '_', starting with a letter or digit",
        64,
    ),
]
ModuleName = Annotated[
    str,
    _Name(
        "recipe module",
        r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*",
        "write the module's Python name, such as 'nginx'",
        200,
    ),
]
RecipeName = Annotated[
    str,
    _Name(
        "recipe",
        r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+",
        "write 'module.function', such as 'nginx.setup' for the function setup in recipes/nginx.py",
        200,
    ),
]
