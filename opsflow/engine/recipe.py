"""Find and load recipe functions in a planner process, and say where in a recipe something went wrong."""

from __future__ import annotations

import importlib
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from opsflow.engine.messages import PlanFailure

RecipeFunction = Callable[[Any], Any]


class RecipeProblem(Exception):
    """A recipe is wrong; carries what to tell the user."""

    def __init__(self, failure: PlanFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def load(names: Sequence[str], roots: Sequence[str]) -> list[tuple[str, RecipeFunction]]:
    """The functions of ``names``, in order.

    Raises:
        RecipeProblem: a module or function does not exist or cannot be imported.
    """
    for root in reversed(roots):
        if root not in sys.path:
            sys.path.insert(0, root)
    return [(name, _function(name, roots)) for name in names]


def _function(name: str, roots: Sequence[str]) -> RecipeFunction:
    module_name, _, function_name = name.rpartition(".")
    module = _module(module_name, name, roots)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise RecipeProblem(
            PlanFailure(
                message=f"there is no function '{function_name}' in recipe module '{module_name}'",
                file=_file(module),
                recipe=name,
                hint=f"it has {', '.join(_public(module)) or 'no functions'}",
            )
        )
    return function  # type: ignore[no-any-return]


def _module(module_name: str, recipe: str, roots: Sequence[str]) -> ModuleType:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            message = f"there is no recipe module '{module_name}' under {', '.join(roots)}"
            raise RecipeProblem(PlanFailure(message=message, recipe=recipe)) from None
        raise RecipeProblem(failure(error, recipe, roots)) from None
    except BaseException as error:  # noqa: BLE001 - a recipe module may raise anything, also SystemExit
        raise RecipeProblem(failure(error, recipe, roots)) from None
    if not _file(module).startswith(tuple(roots)):
        message = f"'{module_name}' is not a recipe: an installed Python module of that name comes first"
        raise RecipeProblem(PlanFailure(message=message, file=_file(module), recipe=recipe, hint="rename it"))
    return module


def _file(module: ModuleType) -> str:
    """Where it is written; empty for one that is built in."""
    return getattr(module, "__file__", None) or ""


def _public(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def failure(
    error: BaseException,
    recipe: str,
    roots: Sequence[str],
    message: str = "",
    function: RecipeFunction | None = None,
) -> PlanFailure:
    """What to tell the user about an exception: the innermost line of a recipe that led to it, and the message.

    Where no line did, it is about the call of the ``function``.
    """
    file, line = "", 0
    if isinstance(error, SyntaxError) and error.filename:
        snippet = (error.text or "").strip()
        return PlanFailure(
            message=f"is not valid Python: {error.msg}",
            file=error.filename,
            line=error.lineno or 0,
            recipe=recipe,
            snippet=snippet,
        )
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(tuple(roots))]
    if frames:
        file, line = frames[-1].filename, frames[-1].lineno or 0
    elif code := getattr(inspect.unwrap(function) if function is not None else None, "__code__", None):
        file, line = code.co_filename, code.co_firstlineno
    return PlanFailure(
        message=message or describe(error),
        file=file,
        line=line,
        recipe=recipe,
        snippet=linecache.getline(file, line).strip() if file else "",
    )


def describe(error: BaseException) -> str:
    """Type and text of an exception in one line, whatever its ``__str__`` does."""
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        return f"the recipe called sys.exit({error.code!r}); raise an exception or return instead"
    try:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    except BaseException:  # noqa: BLE001 - an odd __str__ must not hide the recipe's error
        text = "(its text cannot be shown)"
    return plain(f"{kind}: {text[:2000]}") if text else kind


def plain(text: str) -> str:
    """Text that can be written down: half a character of UTF-16 becomes its escape."""
    return text.encode(errors="backslashreplace").decode()


def resolved(paths: Sequence[str]) -> tuple[str, ...]:
    """Absolute recipe paths with a trailing slash, so that a prefix test means 'inside'."""
    return tuple(f"{Path(path).resolve()}/" for path in paths)
