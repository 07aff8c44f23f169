"""Which model stands at a path of a stack file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from opsflow.model.stack import Stack


def model_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model whose fields are the keys at ``path``; None where the user chooses the keys or none are."""
    here, _ = field_at(path)
    return here if _is_model(here) else None


def field_at(path: Sequence[str | int]) -> tuple[Any, FieldInfo | None]:
    """The type at ``path``, without Annotated and None, and the field that it belongs to."""
    here: Any = Stack
    field: FieldInfo | None = None
    for step in path:
        here, field = _below(here, step)
    return here, field


def _below(here: Any, step: str | int) -> tuple[Any, FieldInfo | None]:
    if _is_model(here):
        field = here.model_fields.get(str(step))
        return (_bare(field.annotation), field) if field else (None, None)
    origin, arguments = get_origin(here), get_args(here)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _bare(arguments[1]), None
    return (_bare(arguments[0]), None) if origin is tuple else (None, None)


def _is_model(here: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(here, type) and issubclass(here, BaseModel)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next((one for one in get_args(annotation) if one is not type(None)), None)
    return annotation
