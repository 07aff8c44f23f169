"""What pyinfra works out again for each operation and fact although it cannot change, kept. Results are the same.

Global arguments, call signatures and split commands are two thirds of the time of a plan. pyinfra itself is not
modified on disk; `install` replaces names in its modules, once in each planner process.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache, lru_cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pyinfra.api.arguments as pyinfra_arguments
import pyinfra.api.command as pyinfra_command
import pyinfra.api.facts as pyinfra_facts
import pyinfra.api.inventory as pyinfra_inventory
import pyinfra.api.util as pyinfra_util
from pyinfra.api.exceptions import ArgumentTypeError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.api.util import raise_if_bad_type
from pyinfra.context import ctx_config

SPLIT = 4096
"""Different command texts whose parts are kept."""

# Importing it as usual gives the decorator of this name, which `pyinfra.api` puts in the module's place.
pyinfra_operation = import_module("pyinfra.api.operation")

slow_arguments = pyinfra_arguments.pop_global_arguments
slow_call_arguments = inspect.getcallargs


def install() -> None:
    """Replace the slow parts of pyinfra in this process."""
    for module, name in (
        (pyinfra_arguments, "all_global_arguments"),
        (pyinfra_inventory, "get_all_connectors"),
        (pyinfra_inventory, "get_execution_connectors"),
    ):
        setattr(module, name, cache(getattr(module, name)))
    replacements = {
        (pyinfra_operation, "pop_global_arguments"): arguments,
        (pyinfra_operation, "signature"): lru_cache(SPLIT)(inspect.signature),
        (pyinfra_facts, "pop_global_arguments"): arguments,
        (pyinfra_facts, "getcallargs"): call_arguments,
        (pyinfra_command, "shlex"): SimpleNamespace(split=_split, quote=shlex.quote),
    }
    for (module, name), value in replacements.items():
        setattr(module, name, value)
    _order()


def forget(roots: tuple[str, ...]) -> None:
    """Forget what pyinfra itself keeps as long as a process lives, which is one run of its own.

    That is the temporary directory of each host, and hashes and templates of files by their names: those below the
    recipe paths are as they were loaded.
    """
    Host._get_temp_directory.cache.clear()  # noqa: SLF001 - memoized for good
    for kept in (pyinfra_util.FILE_SHAS, pyinfra_util.TEMPLATES):
        for name in [name for name in kept if not str(name).startswith(roots)]:
            del kept[name]


# ------------------------------------------------------------------------------------------------ commands


def _split(text: str) -> list[str]:
    return list(_parts(text))


@lru_cache(SPLIT)
def _parts(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


# ------------------------------------------------------------------------------------------------ calls


def call_arguments(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """`inspect.getcallargs` for a method with plain parameters; for others, and for wrong calls, the real one."""
    plain = _plain_parameters(getattr(function, "__func__", None))
    owner = getattr(function, "__self__", None)
    if plain is None or len(args) + 1 > len(plain[0]) or not kwargs.keys() <= plain[1]:
        return slow_call_arguments(function, *args, **kwargs)
    names, _, defaults = plain
    given = dict(zip(names, (owner, *args), strict=False))
    if given.keys() & kwargs.keys():
        return slow_call_arguments(function, *args, **kwargs)
    found = {**defaults, **given, **kwargs}
    return found if len(found) == len(names) else slow_call_arguments(function, *args, **kwargs)


@cache
def _plain_parameters(function: Any) -> tuple[list[str], frozenset[str], Mapping[str, Any]] | None:
    if not inspect.isfunction(function):
        return None
    parameters = list(inspect.signature(function).parameters.values())
    if any(item.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for item in parameters):
        return None
    defaults = {item.name: item.default for item in parameters if item.default is not inspect.Parameter.empty}
    names = [item.name for item in parameters]
    return names, frozenset(names[1:]), defaults


# ------------------------------------------------------------------------------------------------ global arguments


def arguments(state: State, host: Host, kwargs: dict[str, Any]) -> tuple[Any, list[str]]:
    """The same as `pop_global_arguments`, which evaluates type hints and asks four places for each of 32 keys."""
    config = ctx_config.get() if ctx_config.isset() else state.config  # type: ignore[no-untyped-call]
    order, types = _order()
    base = _base(state, host, config, order)
    if base is None:
        return slow_arguments(state, host, kwargs)
    found = {key: value if type(value) not in (dict, list) else value.copy() for key, value in base.items()}
    keys = sorted([key for key in kwargs if key in order], key=order.__getitem__)
    given = {key: value for key, value in (host.current_deploy_kwargs or {}).items() if key in order}
    given |= {key: kwargs.pop(key) for key in keys}
    for key in sorted(given, key=order.__getitem__):
        value = given[key]
        if value is not base[key] or pyinfra_arguments.all_argument_meta[key].handler:
            _set(found, key, value, base[key], config, types)
    return found, keys


@cache
def _order() -> tuple[dict[str, int], dict[str, Any]]:
    known = list(pyinfra_arguments.all_global_arguments())
    return {key: number for number, (key, _) in enumerate(known)}, dict(known)


def _set(found: dict[str, Any], key: str, value: Any, default: Any, config: Any, types: Mapping[str, Any]) -> None:
    handler = pyinfra_arguments.all_argument_meta[key].handler
    value = handler(config, value) if handler else value
    if value != default and type(value) is not types[key]:
        raise_if_bad_type(value, types[key], ArgumentTypeError, f"Invalid argument `{key}`:")
    found[key] = value


def _base(state: State, host: Host, config: Any, order: Mapping[str, int]) -> dict[str, Any] | None:
    """The arguments of an operation that sets none; None when host data have a part in it."""
    data = host.data
    given = getattr(data, "__dict__", {}).get("given")
    deploy_data = host.get_deploy_data()  # type: ignore[no-untyped-call]
    if given is None or data.override_datas or deploy_data or not given.isdisjoint(order):
        return None
    host = data.host  # operations pass what stands for every host in turn; nothing is kept on that
    kept = host.__dict__.get("_opsflow_base")
    settings = {key: value for key, value in vars(config).items() if key.isupper()}
    if kept is None or kept[0] != settings:
        outer, host.current_deploy_kwargs = host.current_deploy_kwargs, None
        try:
            kept = deepcopy(settings), dict[str, Any](slow_arguments(state, host, {})[0])
        finally:
            host.current_deploy_kwargs = outer
        host.__dict__["_opsflow_base"] = kept
    found: dict[str, Any] = kept[1]
    return found
