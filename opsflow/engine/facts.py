"""Facts by name, for people: ``opsflow facts``."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import pyinfra.facts
from pyinfra.api.facts import FactBase, ShortFactBase
from pyinfra.api.host import Host

from opsflow.engine.adapter import FactFailed, Missing, Refused
from opsflow.engine.messages import PlanFailure
from opsflow.engine.recipe import RecipeProblem


def read_facts(host: Host, names: Sequence[str]) -> dict[str, Any]:
    """Values by name, as JSON; those without an answer yet are noted as missing by the connector.

    Raises:
        RecipeProblem: no such fact, one that needs arguments, or one that the host cannot give.
    """
    classes = {name: _fact(name) for name in names}
    values: dict[str, Any] = {}
    for name, kind in classes.items():
        try:
            values[name] = json.loads(json.dumps(host.get_fact(kind), default=_plain))
        except Missing:
            continue
        except (FactFailed, Refused) as error:
            raise RecipeProblem(PlanFailure(message=f"{name}: {error}")) from None
    return values


def _fact(name: str) -> type[FactBase[Any]]:
    module_name, _, class_name = name.partition(".")
    modules = [module.name for module in pkgutil.iter_modules(pyinfra.facts.__path__)]
    if module_name not in modules:
        raise _no_fact(name, get_close_matches(module_name, modules, 1))
    module = importlib.import_module(f"pyinfra.facts.{module_name}")
    facts = {key: value for key, value in vars(module).items() if _is_fact(value, module.__name__)}
    if class_name not in facts:
        close = get_close_matches(class_name, facts, 1) or list(facts)
        raise _no_fact(name, [f"{module_name}.{key}" for key in close])
    kind: type[FactBase[Any]] = facts[class_name]
    needed = _needed(kind)
    if needed:
        raise RecipeProblem(PlanFailure(message=f"{name} needs arguments ({', '.join(needed)}); use it in a recipe"))
    return kind


def _is_fact(value: object, module: str) -> bool:
    return inspect.isclass(value) and issubclass(value, FactBase | ShortFactBase) and value.__module__ == module


def _needed(kind: type[Any]) -> list[str]:
    fact = kind.fact if issubclass(kind, ShortFactBase) else kind
    command = getattr(fact, "command", None)
    if not callable(command):
        return []
    parameters = list(inspect.signature(command).parameters.values())[1:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [item.name for item in parameters if item.default is inspect.Parameter.empty and item.kind in named]


def _no_fact(name: str, close: list[str]) -> RecipeProblem:
    hint = f"did you mean {', '.join(close)}?" if close else "write MODULE.Fact, such as server.LinuxDistribution"
    return RecipeProblem(PlanFailure(message=f"there is no fact '{name}'", hint=hint))


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)
