"""What the shell completes: names of stacks, layers, instances, apps, events and recipes. Never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.wiring import Project

Names = Callable[[typer.Context, str], list[str]]


def _project(context: typer.Context) -> Project:
    from opsflow.wiring import open_project, require_root

    given = context.params.get("project") or context.find_root().params.get("project")
    return open_project(require_root(Path(given) if given else Path.cwd()))


def _loaded(context: typer.Context) -> LoadedStack:
    # An option whose value is being typed ends the parsing early: then the words before it are still unparsed.
    stack = context.params.get("stack") or context.args[0]
    return _project(context).load(str(stack))


def _completer(find: Callable[[typer.Context], Iterable[str]]) -> Names:
    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            names = list(find(context))
        except Exception:  # a broken stack file must not fill the prompt with errors
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _events_and_recipes(context: typer.Context) -> list[str]:
    from opsflow.model.events import LifecycleEvent

    modules = _project(context).catalog(_loaded(context).stack).modules()
    recipes = [f"{module}.{function}" for module, functions in modules.items() for function in functions]
    return [*(event.value for event in LifecycleEvent), *recipes]


def _run_ids(context: typer.Context) -> list[str]:
    with _project(context).reader() as store:
        return [run.id for run in store.runs()]


stacks = _completer(lambda context: _project(context).stacks())
layers = _completer(lambda context: _loaded(context).stack.layers)
instances = _completer(lambda context: _loaded(context).stack.members)
apps = _completer(lambda context: _loaded(context).stack.apps)
events_and_recipes = _completer(_events_and_recipes)
run_ids = _completer(_run_ids)
