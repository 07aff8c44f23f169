"""What a plan leaves behind in its process: whether the next plan can be made there as if nothing had happened.

Recipes are Python: a module's list that grows with each call, a cache, a changed environment variable, a thread. A
process in which nothing of that changed makes the next plan without being started again.
"""

from __future__ import annotations

import collections
import os
import sys
import threading
from collections.abc import Hashable, Mapping
from functools import cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

LARGEST = 20_000
"""Values looked at; recipes that keep more than that get a new process for each plan."""
DEEPEST = 12
PLAIN = (str, int, float, complex, bytes, bool, type(None))
SHARED = ("builtins", "os", "random", "subprocess", "time", "pyinfra.operations.files", "pyinfra.operations.server")
"""Modules whose names recipes must leave as they are."""


class TooMuch(Exception):
    """There is more to look at than is worth it, or something that changes by being looked at."""


class Residue:
    """Compares the state that recipes can change with what it was when it was marked."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._modules: dict[str, ModuleType] = {}
        self._seen = 0
        self._recipes: Hashable = None
        self._shared: list[dict[str, Any]] = []
        self._surroundings: Hashable = None

    def mark(self) -> None:
        """Take the present state as the clean one; only recipe modules that are new are looked at again."""
        before = self._modules
        self._find()
        if self._recipes is None or before.keys() != self._modules.keys():
            self._recipes = self._look()
            self._shared = [dict(vars(module)) for module in _shared()]
            self._surroundings = _surroundings()

    @property
    def clean(self) -> bool:
        """Whether everything is as it was when it was marked; False when that cannot be told."""
        return (
            self._recipes is not None
            and _childless()
            and self._surroundings == _surroundings()
            and all(vars(module) == before for module, before in zip(_shared(), self._shared, strict=True))
            and self._look() == self._recipes
        )

    def _find(self) -> None:
        if len(sys.modules) != self._seen:
            self._seen = len(sys.modules)
            self._modules = {name: module for name, module in sys.modules.items() if self._is_recipe(module)}

    def _look(self) -> Hashable:
        try:
            look = _Look(set(self._modules))
            return tuple((name, look.names(vars(module))) for name, module in self._modules.items())
        except (TooMuch, RecursionError):
            return None

    def _is_recipe(self, module: object) -> bool:
        return (getattr(module, "__file__", None) or "").startswith(self._roots)


@cache
def of(roots: tuple[str, ...]) -> Residue:
    """The one of this process."""
    return Residue(roots)


def _shared() -> list[ModuleType]:
    return [sys.modules[name] for name in SHARED]


def _childless() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _surroundings() -> Hashable:
    umask = os.umask(0o077)
    os.umask(umask)
    return (
        tuple(os.environ.items()),
        tuple(sys.path),
        threading.active_count(),
        umask,
        id(sys.stdout),
        id(sys.stderr),
        sys.getrecursionlimit(),
    )


class _Look:
    """Turns values into something that can be compared later."""

    def __init__(self, modules: set[str]) -> None:
        self._modules = modules
        self._left = LARGEST
        self._within: set[int] = set()

    def names(self, names: Mapping[str, Any]) -> Hashable:
        return tuple((key, self.shape(value)) for key, value in names.items() if key != "__builtins__")

    def shape(self, value: Any) -> Hashable:
        self._left -= 1
        if self._left < 0 or len(self._within) > DEEPEST:
            raise TooMuch
        if isinstance(value, PLAIN):
            return value if type(value) in PLAIN else (id(type(value)), value)
        if id(value) in self._within:
            return id(value)
        self._within.add(id(value))
        try:
            return id(value), self._inside(value)
        finally:
            self._within.discard(id(value))

    def _inside(self, value: Any) -> Hashable:
        if isinstance(value, Mapping):
            return tuple((self.shape(key), self.shape(item)) for key, item in value.items())
        if isinstance(value, list | tuple | collections.deque):
            return tuple(self.shape(item) for item in value)
        if isinstance(value, set | frozenset):
            return frozenset(self.shape(item) for item in value)
        if isinstance(value, ModuleType | BuiltinFunctionType):
            return None
        if hasattr(value, "cache_info"):
            return tuple(value.cache_info())
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self.names(vars(value)) if value.__module__ in self._modules else None
        if hasattr(value, "__next__") or isinstance(value, bytearray | memoryview):
            raise TooMuch
        return self.shape(vars(value)) if hasattr(value, "__dict__") else None

    def _function(self, value: FunctionType) -> Hashable:
        if value.__module__ not in self._modules:
            return None
        cells = tuple(self.shape(cell.cell_contents) for cell in value.__closure__ or () if _filled(cell))
        return id(value.__code__), cells, self.shape(value.__defaults__), self.shape(vars(value))


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
