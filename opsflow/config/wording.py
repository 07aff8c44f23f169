"""Validation errors in the words of people who write stack files."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from opsflow.config.document import DataPath, Document
from opsflow.config.fields import field_at, model_at
from opsflow.config.hiding import is_secret
from opsflow.config.words import did_you_mean, instead_of
from opsflow.errors import Problem
from opsflow.model.base import Misfit
from opsflow.model.references import BrokenReference
from opsflow.model.stack import BROKEN_REFERENCES

Found = tuple[DataPath, Problem]


def problems_of(error: ValidationError, document: Document) -> Iterator[Found]:
    """Each error as a problem at its place. Broken references are left to :func:`reference_problem`."""
    for details in error.errors(include_url=False):
        if details["type"] != BROKEN_REFERENCES:
            yield _problem(details, document)


def reference_problem(broken: BrokenReference, document: Document) -> Found:
    """A broken reference, with the closest name that exists."""
    known = ", ".join(islice(broken.known, 20)) or "none"
    hint = did_you_mean(broken.name, broken.known) or f"there are: {known}" if broken.name else None
    return broken.at, document.problem(broken.at, broken.message, hint=hint, on_key=broken.on_key)


def _problem(details: ErrorDetails, document: Document) -> Found:
    location = tuple(step for step in details["loc"] if step != "[key]")
    kind = details["type"]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Misfit):
        location += cause.at
    at = document.nearest(location)
    if kind == "missing":
        path = (*at, location[-1])
        return path, _missing(document, at, path)
    if kind == "extra_forbidden":
        instead = instead_of(str(at[-1]), _keys_at(at[:-1]))
        return at, document.problem(at, "unknown key", hint=instead, on_key=True)
    message, hint = _said(details, at)
    hint = getattr(cause, "hint", None) or hint
    return at, document.problem(at, message, hint=hint, on_key="[key]" in details["loc"])


def _missing(document: Document, at: DataPath, path: DataPath) -> Problem:
    written = _SECTIONS.get(str(path[-1])) if model_at(path) else None
    hint = f"write {path[-1]}: {written}" if written else _example(path)
    return document.problem(at, f"the key '{path[-1]}' is missing", hint=hint, on_key=bool(at))


def _said(details: ErrorDetails, at: DataPath) -> tuple[str, str | None]:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", details["msg"])), None
    wanted = _WANTED.get(kind)
    if wanted:
        return f"should be {wanted}, is {_a(value)}", _rewritten(wanted, value, at) or _example(at)
    limit = _LIMITS.get(kind)
    if limit:
        return f"should be {limit(context)}{_is(value, at)}", None
    if kind in ("literal_error", "enum"):
        return _choice(context, value, at)
    if kind == "string_pattern_mismatch":
        return f"has the wrong form{_is(value, at)}", _example(at) or f"it must match {context['pattern']}"
    return details["msg"][:1].lower() + details["msg"][1:], _example(at)


def _rewritten(wanted: str, value: object, at: DataPath) -> str | None:
    """What was most likely meant."""
    if wanted == TEXT and isinstance(value, int | float):
        return "put it in quotes"
    if wanted == MAPPING and value is None and at:
        return f"write '{at[-1]}: {{}}' where nothing is to be said"
    if wanted == MAPPING and isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return f"write {{{value[0]}: {{}}, ...}}" if model_at(at) is None else None
    short = isinstance(value, str) and value.isprintable() and len(value) < 40 and not is_secret(at)
    if short and (wanted == LIST or at[-1:] == ("recipes",)):
        return f"write [{value}]"
    return None


def _choice(context: Mapping[str, Any], value: object, at: DataPath) -> tuple[str, str | None]:
    choices = _choices_at(at)
    hint = did_you_mean(value, choices) if isinstance(value, str) else None
    return f"should be one of {', '.join(choices) or context['expected']}{_is(value, at)}", hint


def _choices_at(at: DataPath) -> tuple[str, ...]:
    annotation, _ = field_at(at)
    if typing.get_origin(annotation) is typing.Literal:
        return tuple(str(choice) for choice in typing.get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(str(member.value) for member in annotation)
    return ()


def _is(value: object, at: DataPath) -> str:
    """``, is 'x'``; nothing for what may be secret, the kind for what is not a word or number."""
    if is_secret(at):
        return ""
    if isinstance(value, str):
        return f", is '{value if len(value) <= 60 else value[:57] + '...'}'"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f", is {value}"
    return f", is {_a(value)}"


def _a(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = ((str, "text"), (int | float, "a number"), (Mapping, "a mapping"), (list | tuple, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), "something else")


def _example(at: DataPath) -> str | None:
    _, info = field_at(at)
    if info is not None and info.examples:
        return f"such as {info.examples[0]}"
    model = model_at(at)
    return f"known keys: {', '.join(model.model_fields)}" if model else None


def _keys_at(at: DataPath) -> tuple[str, ...]:
    model = model_at(at)
    return tuple(model.model_fields) if model else ()


_SECTIONS = {"compute": "{provider: sandbox}", "source": "{directory: PATH}"}
"""What to write where a whole section is missing: its keys alone would look like keys of the section around it."""

TEXT, LIST, MAPPING = "text", "a list", "a mapping (KEY: VALUE)"
_WANTED = {
    **dict.fromkeys(("string_type", "string_sub_type"), TEXT),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), MAPPING),
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type"), LIST),
}
_LIMITS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters long",
    "string_too_short": lambda context: f"at least {context['min_length']} characters long",
    "too_long": lambda context: f"at most {context['max_length']} entries",
    "too_short": lambda context: f"at least {context['min_length']} entries",
}
