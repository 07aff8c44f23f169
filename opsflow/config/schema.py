"""The JSON Schema (draft 7) of stack files, for editors: their YAML servers know nothing newer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opsflow.model.stack import Stack

DRAFT = "http://json-schema.org/draft-07/schema#"
Schema = dict[str, Any]


def stack_schema() -> Schema:
    """A schema that accepts what :func:`~opsflow.config.load_stack` accepts, short forms included.

    It cannot express everything: references, hours and cron expressions are checked by the loader alone.
    """
    schema = Stack.model_json_schema(ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs")
    body = _each_schema(_tidy, schema)
    return {
        "$schema": DRAFT,
        **body,
        "title": "opsflow stack",
        "definitions": {name: _each_schema(_tidy, one) for name, one in sorted(definitions.items())},
    }


def _each_schema(change: Callable[[Schema], Schema], value: Any) -> Any:
    """``change`` applied to every schema object below ``value``; names of properties are not schemas."""
    if isinstance(value, list):
        return [_each_schema(change, one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {
        key: {name: _each_schema(change, one) for name, one in below.items()}
        if key in ("properties", "patternProperties") and isinstance(below, dict)
        else below
        if key in ("default", "enum", "const", "examples", "required")
        else _each_schema(change, below)
        for key, below in value.items()
    }
    return change(inner)


def _tidy(schema: Schema) -> Schema:
    schema = {key: value for key, value in schema.items() if key != "title"}
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].replace("``", "").replace("`", "").split())
    patterns = schema.pop("patternProperties", None)
    if patterns:
        # With patternProperties alone, a key that does not match would be allowed to be anything.
        ((pattern, values),) = patterns.items()
        schema |= {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
    if "$ref" in schema and len(schema) > 1:
        # Draft 7 ignores what stands beside $ref.
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema
