"""Functions that recipes have called between operations (`python.call`), and pyinfra's own ones in `server.reboot`.

A function runs once, in a planner process, when everything before it is real. Later plans of the run are made in other
processes: what it changed in variables of its own, or was given, is carried over, as long as JSON can say it.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import getfullargspec
from typing import Any

from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_host

from opsflow.engine import recipe
from opsflow.engine.messages import Barrier, CommandAnswer, PlanFailure

REBOOT = "reboot.<locals>."
"""Functions within pyinfra's `server.reboot`."""
PLAIN = (str, int, float, bool, type(None), list, dict)


class Forgotten(Exception):
    """A function changed something that cannot be carried over to the next plan."""


def idle(command: PyinfraCommand) -> bool:
    """Whether it is one of pyinfra's functions that only look after files that opsflow never makes."""
    return _of_reboot(command) in ("remove_any_askpass_file", "clean_sudo_info")


def barrier_of(command: FunctionCommand) -> Barrier:
    """What a run has to do at a function."""
    part = _of_reboot(command)
    if part == "capture_uptime":
        return Barrier(what="boot", display="note which boot this is")
    if part == "wait_and_reconnect":
        variables = _cells(command.function)
        delay, interval, most = (
            float(variables[name].cell_contents) for name in ("delay", "interval", "reboot_timeout")
        )
        text = f"wait for the reboot, at most {most:g} s"
        return Barrier(what="reconnect", display=text, delay=delay, interval=interval, timeout=most)
    name = getattr(command.function, "__qualname__", type(command.function).__name__).replace("<locals>.", "")
    return Barrier(what="call", display=f"call {name}")


def _of_reboot(command: PyinfraCommand) -> str:
    if not isinstance(command, FunctionCommand):
        return ""
    function = command.function
    name = getattr(function, "__qualname__", "")
    ours = getattr(function, "__module__", "") == "pyinfra.operations.server" and name.startswith(REBOOT)
    return str(name.removeprefix(REBOOT)) if ours else ""


def called(
    command: FunctionCommand, state: State, host: Host, timeout: float | None, where: tuple[str, tuple[str, ...]]
) -> tuple[CommandAnswer, str]:
    """Call the function as pyinfra does: what came of it, and what later plans must find changed, as JSON."""
    before = _shapes(command)
    problem = ""
    try:
        with _limited(timeout):
            if _execute(command, state, host) is False:
                problem = "the function returned False\n"
    except Exception as error:  # noqa: BLE001 - a function may raise anything
        problem = _told(recipe.failure(error, *where))
    try:
        changes = _changed(before, _shapes(command))
    except Forgotten as error:
        changes, problem = "", problem or f"{error}\n"
    return CommandAnswer(success=not problem, stderr=problem), changes


def _execute(command: FunctionCommand, state: State, host: Host) -> Any:
    names = getfullargspec(command.function).args
    if "state" in names and "host" in names:
        return command.function(state, host, *command.args, **command.kwargs)
    with ctx_config.use(state.config.copy()), ctx_host.use(host):
        command.function(*command.args, **command.kwargs)
    return None


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """End the function after so many seconds, as far as Python can."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _told(failure: PlanFailure) -> str:
    where = f" (at {failure.file}:{failure.line}: {failure.snippet})" if failure.line else ""
    return f"{failure.message}{where}\n"


# ------------------------------------------------------------------------------------------------ what it changed


def _shapes(command: FunctionCommand) -> dict[str, str]:
    """Place -> its value as JSON; a value that JSON cannot say is left out, a place that is empty is null."""
    return {place: text for place, value in _places(command) if (text := _json(value)) is not None}


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    lost = [place for place in before if place not in after]
    if lost:
        what = ", ".join(f"'{place.partition(':')[2]}'" for place in lost)
        raise Forgotten(
            f"the function keeps in {what} what later operations would not find there: "
            "keep text, numbers, lists and dictionaries"
        )
    changes = {place: text for place, text in after.items() if before.get(place) != text}
    return json.dumps(changes) if changes else ""


def restore(command: FunctionCommand, changes: str) -> None:
    """Let it be as if the function had been called in this process."""
    if not changes:
        return
    values = {place: json.loads(text) for place, text in json.loads(changes).items()}
    present = dict(_places(command))
    for place, value in values.items():
        if not _in_place(present.get(place), value):
            _bind(command, place, value)


def _in_place(target: Any, value: Any) -> bool:
    """Others may hold the same list or dictionary."""
    if type(target) is list and type(value) is list:
        target[:] = value
    elif type(target) is dict and type(value) is dict:
        target.clear()
        target.update(value)
    else:
        return False
    return True


def _bind(command: FunctionCommand, place: str, value: Any) -> None:
    kind, _, name = place.partition(":")
    if kind == "cell":
        _cells(command.function)[name].cell_contents = value
    elif kind == "global":
        command.function.__globals__[name] = value


def _places(command: FunctionCommand) -> Iterator[tuple[str, Any]]:
    """What the function can change and others can see: outer variables, globals that it names, its arguments."""
    function = command.function
    for name, cell in _cells(function).items():
        try:
            yield f"cell:{name}", cell.cell_contents
        except ValueError:
            yield f"cell:{name}", None
    code = getattr(function, "__code__", None)
    for name in dict.fromkeys(code.co_names if code is not None else ()):
        if name in function.__globals__:
            yield f"global:{name}", function.__globals__[name]
    for key, value in (*enumerate(command.args), *command.kwargs.items()):
        yield f"argument:{key}", value


def _cells(function: Callable[..., Any]) -> dict[str, Any]:
    code = getattr(function, "__code__", None)
    return dict(zip(code.co_freevars, function.__closure__ or (), strict=True)) if code is not None else {}


def _json(value: Any) -> str | None:
    if type(value) not in PLAIN:
        return None
    try:
        text = json.dumps(value)
        return text if json.loads(text) == value else None
    except (TypeError, ValueError, RecursionError):
        return None
