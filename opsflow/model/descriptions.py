"""What the fields of models mean: the docstring below each, for the JSON Schema and the reference.

pydantic can collect these itself (``use_attribute_docstrings``), but does so whenever a model is defined: every start
of the program would read and parse the source of every model, for words that hardly any command prints.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import BaseModel


def field_descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field of a model, its own and the inherited ones; fields without one are left out."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            # A field that is declared anew does not mean what it meant before.
            found = {name: text for name, text in found.items() if name not in inspect.get_annotations(one)}
            found |= _docstrings(one)
    return {name: text for name, text in found.items() if name in model.model_fields}


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = inspect.getsource(model)
    except OSError:
        return {}  # Installed without sources: the words are not there, all else is.
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - for the type checker
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }
