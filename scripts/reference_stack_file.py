"""docs/reference/stack-file.md, from the models that load stack files."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

HEAD = """# The stack file

Generated from the models by `make docs`; do not edit it.

A stack is one YAML file, `stacks/NAME.yml`. `opsflow validate` checks it: every problem with file, line and column.
For completion and checks in an editor, write the schema once and name it in the first line of the file:

```
opsflow schema > stacks/opsflow.schema.json
```

```yaml
# yaml-language-server: $schema=opsflow.schema.json
stack: shop
compute: {provider: sandbox}
layers:
  web:
    recipes: [nginx]
    instances: {web1: {}, web2: {}}
```

Unknown keys are errors. Fields of what this version does not do yet
([the list](../opsworks.md#what-is-not-there-yet)) are checked and kept.
"""

NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}
LIMITS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "min_length": "at least {} of them",
          "max_length": "at most {} long"}  # fmt: skip
# Written in a shorter way than their types say.
SHORTHAND = {
    ("Compute", "provider"): "`sandbox`, `static`, `container`, `ec2`",
    ("Layer", "recipes"): "list of modules, or [Recipes](#recipes)",
    ("Instance", "hours"): "days and hours, such as `{mon-fri: 8-20}`",
    ("App", "environment"): "map of name to text, or to [EnvironmentValue](#environmentvalue)",
}


def page() -> str:
    """The whole page."""
    from opsflow.model.stack import Stack

    parts = [HEAD]
    for model in reachable(Stack):
        parts += section(model)
    return "\n".join(parts).rstrip() + "\n"


def reachable(first: type) -> list[type]:
    """The models of the file, each after the one that names it first."""
    found, todo = [], [first]
    while todo:
        model = todo.pop(0)
        if model not in found:
            found.append(model)
            todo += [inner for field in model.model_fields.values() for inner in _models(field.annotation)]
    return found


def _models(annotation: Any) -> Iterator[type]:
    if inspect.isclass(annotation) and hasattr(annotation, "model_fields"):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def section(model: type) -> Iterator[str]:
    """A heading, the model's own words, and a row a field."""
    from opsflow.model.descriptions import field_descriptions

    yield f"## {model.__name__}\n"
    yield f"{(inspect.getdoc(model) or '').replace('``', '`')}\n"
    yield "| field | value | default | |\n|---|---|---|---|"
    descriptions = field_descriptions(model)
    for name, field in model.model_fields.items():
        kind = SHORTHAND.get((model.__name__, name)) or type_of(field.annotation)
        limits = ", ".join(_limits(field.metadata))
        text = " ".join(descriptions.get(name, "").replace("``", "`").split())
        cells = (f"`{name}`", f"{kind}{f' ({limits})' if limits else ''}", _default(field), text)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def type_of(annotation: Any) -> str:
    """A type as people say it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = ", ".join(_limits(arguments[1:]))
        return type_of(arguments[0]) + (f" ({limits})" if limits else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_of(inner) for inner in arguments if inner is not type(None))
    if origin in (tuple, list, frozenset):
        return f"list of {type_of(arguments[0])}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "object" if arguments[1] is Any else f"map of name to {type_of(arguments[1])}"
    return _plain(annotation)


def _plain(annotation: Any) -> str:
    if annotation in NAMES:
        return NAMES[annotation]
    if hasattr(annotation, "model_fields"):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if hasattr(annotation, "__members__"):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return "secret text" if annotation.__name__ == "SecretStr" else annotation.__name__


def _limits(metadata: Any) -> Iterator[str]:
    for item in metadata:
        for inner in getattr(item, "metadata", ()) or (item,):
            for name, words in LIMITS.items():
                value = getattr(inner, name, None)
                if value is not None and not callable(value):
                    yield words.format(value)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        value = field.default_factory()
        return "" if not value or hasattr(value, "model_fields") else f"`{json.dumps(value)}`"
    if field.default in (None, "", ()):
        return ""
    return f"`{json.dumps(field.default)}`"
