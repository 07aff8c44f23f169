"""What all models share: frozen, nothing unknown accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Misfit(ValueError):
    """A value does not fit; ``at`` is the way to it from what is being validated, for an error to point there."""

    def __init__(self, message: str, *at: str | int, hint: str | None = None) -> None:
        super().__init__(message)
        self.at = at
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Shape:
    """Metadata for editors: what text must look like where a validator in Python decides."""

    pattern: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class AlsoAccepts:
    """Metadata for editors: the short form that a validator in Python turns into the long one."""

    short: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.short), handler(core)]}


class Model(BaseModel):
    """A frozen value. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with what each field means."""
        # Loaded here only: see there.
        from opsflow.model.descriptions import field_descriptions

        schema = handler(core)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name, text in field_descriptions(cls).items():
            properties[cls.model_fields[name].alias or name].setdefault("description", text)
        return schema
