"""The use cases of one stack, under one lease."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opsflow.clock import Clock
from opsflow.controller.applying import Applying
from opsflow.controller.context import Observer, Outcome, RunOptions, StackContext
from opsflow.controller.deploying import Deploying
from opsflow.controller.firing import Firing
from opsflow.controller.office import Office
from opsflow.controller.parts import Parts
from opsflow.controller.powering import Powering
from opsflow.controller.recovering import Recovering
from opsflow.controller.retrying import Retrying
from opsflow.controller.secrets import stack_secrets
from opsflow.lifecycle.coalescing import DEBOUNCE
from opsflow.lifecycle.reach import Targets
from opsflow.model.command import Command
from opsflow.model.events import LifecycleEvent
from opsflow.planning import Plan
from opsflow.ports import AppSources, ComputeProvider, Engine, Lease, RecipeCatalog, Store
from opsflow.redact import Redactor

_EVERYONE = Targets()
_DEFAULTS = RunOptions()


class Controller:
    """Fires events, starts and stops instances, deploys. One request at a time; it never prints.

    Without a lease it only plans. Every request takes ``cancel``: when it is set, running commands are killed,
    nothing more begins, and the run ends as cancelled. The controller sets it itself when it must stop because
    the store cannot be written any more.
    """

    def __init__(  # noqa: PLR0913  the composition root hands over every part once
        self,
        context: StackContext,
        *,
        store: Store,
        lease: Lease | None,
        compute: ComputeProvider,
        engine: Engine,
        catalog: RecipeCatalog,
        sources: AppSources,
        clock: Clock,
        observe: Observer,
        parallel: int = 50,
        debounce: float = DEBOUNCE,
    ) -> None:
        parts = Parts(
            context=context,
            store=store,
            lease=lease,
            compute=compute,
            engine=engine,
            catalog=catalog,
            sources=sources,
            clock=clock,
            observe=observe,
            redact=Redactor(stack_secrets(context.stack)),
            parallel=parallel,
            debounce=debounce,
        )
        office = Office(parts)
        self.context = context
        self._recovering = Recovering(office)
        self._applying = Applying(office)
        self._firing = Firing(office)
        self._deploying = Deploying(office, self._firing)
        self._powering = Powering(office)
        self._retrying = Retrying(office, self._applying, self._firing, self._deploying, self._powering)

    def recover(self) -> tuple[Command, ...]:
        """First thing after the lease was acquired: nothing stays `running`; returns the commands that were closed."""
        return self._recovering.recover()

    # ---------------------------------------------------------------------------------------- plans

    def plan_up(self) -> Plan:
        """What brings the stack to what its file says."""
        return self._applying.plan_up()

    def plan_destroy(self) -> Plan:
        """What ends every instance of the stack."""
        return self._applying.plan_destroy()

    def with_sources(self, plan: Plan) -> Plan:
        """A plan to be saved: it also tells the revisions of the apps that it would deploy.

        Raises:
            SourceError: one cannot be fetched.
        """
        return self._applying.with_sources(plan)

    def plan_event(self, event: LifecycleEvent, targets: Targets = _EVERYONE) -> Plan:
        """What an event would run where."""
        return self._applying.plan_event(event, targets)

    def plan_recipes(self, recipes: Sequence[str], targets: Targets = _EVERYONE) -> Plan:
        """Where these recipes would run."""
        return self._applying.plan_recipes(tuple(recipes), targets)

    def check_recipes(self, plan: Plan) -> None:
        """Say of a plan what :meth:`apply` would refuse to run, and change nothing.

        Raises:
            RecipeError: with every problem.
        """
        self._applying.check_recipes(plan)

    def apply(self, plan: Plan, cancel: threading.Event | None = None) -> Outcome:
        """Carry a plan out.

        Raises:
            StalePlan: something that it was made from has changed.
            RecipeError: a recipe cannot be used; nothing was done.
        """
        return self._applying.apply(plan, cancel)

    def destroy(self, cancel: threading.Event | None = None) -> Outcome:
        """End every instance of the stack."""
        return self.apply(self.plan_destroy(), cancel)

    # ---------------------------------------------------------------------------------------- commands

    def run_event(
        self,
        event: LifecycleEvent,
        targets: Targets = _EVERYONE,
        options: RunOptions = _DEFAULTS,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Fire a lifecycle event on the instances that it reaches."""
        return self._firing.run_event(event, targets, options, cancel)

    def run_recipes(
        self,
        recipes: Sequence[str],
        targets: Targets = _EVERYONE,
        options: RunOptions = _DEFAULTS,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Run recipes in the given order on online instances."""
        return self._firing.run_recipes(recipes, targets, options, cancel)

    def deploy(
        self,
        app: str,
        revision: str | None = None,
        targets: Targets = _EVERYONE,
        options: RunOptions = _DEFAULTS,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Deploy an app at its source's revision or at ``revision``, on the online instances of its layers."""
        return self._deploying.deploy(app, revision, targets, options, cancel)

    def undeploy(
        self,
        app: str,
        targets: Targets = _EVERYONE,
        options: RunOptions = _DEFAULTS,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Remove an app from the online instances that have it."""
        return self._deploying.undeploy(app, targets, options, cancel)

    def rollback(
        self,
        app: str,
        targets: Targets = _EVERYONE,
        options: RunOptions = _DEFAULTS,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Go back to the release before the current one; after a failed deploy, to the last one that succeeded."""
        return self._deploying.rollback(app, targets, options, cancel)

    def retry(
        self,
        run_id: str,
        failed_only: bool = False,
        options: RunOptions | None = None,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Make the request of a run again, for everyone or for those that failed."""
        return self._retrying.retry(run_id, failed_only, options, cancel)

    # ---------------------------------------------------------------------------------------- machines

    def start(self, targets: Targets = _EVERYONE, cancel: threading.Event | None = None) -> Outcome:
        """Start instances; without targets all 24/7 ones."""
        return self._powering.start(targets, cancel)

    def stop(self, targets: Targets = _EVERYONE, cancel: threading.Event | None = None) -> Outcome:
        """Stop instances; their disks stay."""
        return self._powering.stop(targets, cancel)

    def reboot(self, targets: Targets = _EVERYONE, cancel: threading.Event | None = None) -> Outcome:
        """Restart machines in place; no event is fired."""
        return self._powering.reboot(targets, cancel)
