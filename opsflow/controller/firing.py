"""Commands on instances that are up: events, recipes, apps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsflow.controller.chains import Chains
from opsflow.controller.conductor import Conductor
from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.office import Office, targets_as_data
from opsflow.controller.preflight import Planned
from opsflow.controller.rollout import Rollout, check_options
from opsflow.controller.work import Work
from opsflow.errors import UsageError
from opsflow.lifecycle.reach import Targets, statuses_for
from opsflow.lifecycle.runlists import known, layers_run_list
from opsflow.model.command import Command, CommandType
from opsflow.model.events import LifecycleEvent
from opsflow.model.state import StackState

_DONE_TO = {
    CommandType.SETUP: "set up",
    CommandType.CONFIGURE: "configured",
    CommandType.DEPLOY: "deployed to",
    CommandType.UNDEPLOY: "undeployed from",
    CommandType.SHUTDOWN: "reached",
    CommandType.EXECUTE_RECIPES: "reached",
}


class Firing:
    """Fires events and runs recipes."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._parts = office.parts

    def run_event(
        self, event: LifecycleEvent, targets: Targets, options: RunOptions, cancel: threading.Event | None
    ) -> Outcome:
        """Fire a lifecycle event on the instances that it reaches.

        Setup takes them out of service and is followed by the deploy of all apps and by configure on everyone.
        Shutdown runs the recipes only; nothing is stopped.
        """
        kind = CommandType(event.value)
        observed = self._begin(options)
        names = self._office.choose(observed, targets, statuses_for(kind), _DONE_TO[kind])
        kinds = (kind, CommandType.DEPLOY) if kind is CommandType.SETUP else (kind,)
        self._preflight(observed, names, kinds, (), options)
        asked = {"event": event.value, "targets": targets_as_data(targets)}
        work = self._office.open(event.value, "event", options=options, cancel=cancel, asked=asked)
        if kind is CommandType.SETUP and not options.checking:
            return self._set_up(work, names)
        apps = self._apps_of(observed, names, kind)
        commands = [self._commands(work, name, kinds, apps.get(name, ())) for name in names]
        return self.carry_out(work, dict(zip(names, commands, strict=True)))

    def run_recipes(
        self, recipes: Sequence[str], targets: Targets, options: RunOptions, cancel: threading.Event | None
    ) -> Outcome:
        """Run recipes in the given order on online instances."""
        kind = CommandType.EXECUTE_RECIPES
        observed = self._begin(options)
        functions = self._parts.catalog.modules()
        for recipe in recipes:
            if not known(recipe, functions):
                raise UsageError(f"there is no recipe '{recipe}' on the recipe paths")
        names = self._office.choose(observed, targets, statuses_for(kind), _DONE_TO[kind])
        self._preflight(observed, names, (kind,), tuple(recipes), options)
        asked = {"recipes": list(recipes), "targets": targets_as_data(targets)}
        work = self._office.open("execute_recipes", "recipes", options=options, cancel=cancel, asked=asked)
        commands = {name: (work.new_command(name, kind, "asked for", recipes=tuple(recipes)),) for name in names}
        return self.carry_out(work, commands)

    def carry_out(self, work: Work, commands: Mapping[str, Sequence[Command]]) -> Outcome:
        """Run the commands of every instance in order, instances in parallel or in batches."""
        flat = [command for each in commands.values() for command in each]
        with Conductor(work) as conductor:
            work.start(flat, f"run {work.run.id}: {work.run.action} on {', '.join(commands)}")

            def job(name: str) -> None:
                # In check mode a failed setup does not keep the deploy from being checked.
                for command in commands[name]:
                    conductor.executor.run(command)

            Rollout(work, conductor, tuple(commands)).go(job)
        return work.finish()

    def _set_up(self, work: Work, names: Sequence[str]) -> Outcome:
        commands = {name: work.new_command(name, CommandType.SETUP, "asked for") for name in names}
        with Conductor(work) as conductor:
            work.start(tuple(commands.values()), f"run {work.run.id}: setup on {', '.join(names)}")
            chains = Chains(work, conductor.executor)

            def job(name: str) -> None:
                chains.setup(name, "asked for", commands[name])

            Rollout(work, conductor, names).go(job)
        return work.finish()

    # ---------------------------------------------------------------------------------------- helpers

    def _begin(self, options: RunOptions) -> StackState:
        check_options(options)
        return self._office.records.load()

    def _commands(
        self, work: Work, name: str, kinds: Iterable[CommandType], apps: tuple[str, ...]
    ) -> tuple[Command, ...]:
        return tuple(
            work.new_command(name, kind, "asked for", apps=() if kind is CommandType.SETUP else apps) for kind in kinds
        )

    def _apps_of(self, observed: StackState, names: Sequence[str], kind: CommandType) -> dict[str, tuple[str, ...]]:
        """The apps that an event without a named app deploys or undeploys."""
        found: dict[str, tuple[str, ...]] = {}
        for name in names:
            state = observed.instances[name]
            if kind in (CommandType.SETUP, CommandType.DEPLOY):
                found[name] = self._parts.stack.apps_of(state.layers)
            elif kind is CommandType.UNDEPLOY:
                found[name] = tuple(state.apps)
        return found

    def _preflight(
        self,
        observed: StackState,
        names: Sequence[str],
        kinds: Sequence[CommandType],
        recipes: tuple[str, ...],
        options: RunOptions,
    ) -> None:
        planned = [
            Planned(name, kind.value, recipes or self._bound(observed, name, kind)) for name in names for kind in kinds
        ]
        self._office.preflight(observed, planned, options)

    def _bound(self, observed: StackState, name: str, kind: CommandType) -> tuple[str, ...]:
        event = LifecycleEvent.DEPLOY if kind is CommandType.ROLLBACK else LifecycleEvent(kind.value)
        layers = observed.instances[name].layers
        return layers_run_list(self._parts.stack, layers, event, self._parts.catalog.modules())

    # ---------------------------------------------------------------------------------------- apps

    def run_app(
        self,
        kind: CommandType,
        app: str,
        names: Sequence[str],
        *,
        observed: StackState,
        options: RunOptions,
        cancel: threading.Event | None,
        asked: Mapping[str, Any],
        revisions: Mapping[str, str | None] | None = None,
    ) -> Outcome:
        """Run deploy, undeploy or rollback of one app on these instances."""
        self._preflight(observed, names, (kind,), (), options)
        work = self._office.open(
            kind.value, kind.value, options=options, cancel=cancel, revisions=revisions, asked={"app": app, **asked}
        )
        if kind is CommandType.DEPLOY:
            # Fetched now: when the source is broken, nothing runs anywhere.
            work.bundles.fetch(app, observed)
        commands = {name: (work.new_command(name, kind, "asked for", apps=(app,)),) for name in names}
        return self.carry_out(work, commands)
