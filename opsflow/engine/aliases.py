"""Recipes under a second name: ``setup = install`` and ``from base import setup``, found without running a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from opsflow.ports import RecipeSource


@dataclass(frozen=True, slots=True)
class Alias:
    """A name at the top of a module that stands for a function, perhaps of another module."""

    name: str
    module: str
    target: str


def aliases(tree: ast.Module, module: str, *, package: bool) -> Iterator[Alias]:
    """The names in the module that may stand for functions."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield Alias(target.id, module, node.value.id)
        elif isinstance(node, ast.ImportFrom):
            origin = imported_from(node, module, package=package)
            for each in node.names:
                yield Alias(each.asname or each.name, origin, each.name)


def imported_from(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    """The module that ``from ... import`` means, in a module or (``package``) in the ``__init__`` of one."""
    # `from .` means the package: the module itself when it is one.
    parts = module.split(".") if package else module.split(".")[:-1]
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def add_aliases(modules: Mapping[str, dict[str, RecipeSource]], found: Mapping[str, Sequence[Alias]]) -> None:
    """Add what stands for a function of ``modules``, also an alias of an alias; its source is where that is written."""
    added = True
    while added:
        added = False
        for module, names in found.items():
            for alias in names:
                meant = modules.get(alias.module, {}).get(alias.target)
                if meant and alias.name not in modules[module]:
                    modules[module][alias.name] = replace(meant, name=f"{module}.{alias.name}")
                    added = True
