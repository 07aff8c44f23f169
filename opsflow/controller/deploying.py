"""Apps: deploy, undeploy, rollback."""

from __future__ import annotations

import threading
from collections.abc import Callable

from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.firing import Firing
from opsflow.controller.office import Office, targets_as_data
from opsflow.controller.rollout import check_options
from opsflow.errors import UsageError, did_you_mean
from opsflow.lifecycle.reach import ONLINE, Candidate, Targets
from opsflow.model.command import CommandType
from opsflow.model.state import StackState


class Deploying:
    """Brings apps to instances and away from them."""

    def __init__(self, office: Office, firing: Firing) -> None:
        self._office = office
        self._firing = firing
        self._stack = office.parts.stack

    def deploy(
        self, app: str, revision: str | None, targets: Targets, options: RunOptions, cancel: threading.Event | None
    ) -> Outcome:
        """Deploy an app at its source's revision or at ``revision``.

        Raises:
            SourceError: it cannot be fetched; nothing ran.
        """
        self._declared(app)
        observed = self._begin(options)
        layers = set(self._stack.apps[app].layers)
        names = self._choose(
            observed, targets, "deployed to", f"is in no layer of {app}", lambda each: bool(layers & set(each.layers))
        )
        return self._firing.run_app(
            CommandType.DEPLOY,
            app,
            names,
            observed=observed,
            options=options,
            cancel=cancel,
            asked={"targets": targets_as_data(targets), "revision": revision},
            revisions={app: revision},
        )

    def undeploy(self, app: str, targets: Targets, options: RunOptions, cancel: threading.Event | None) -> Outcome:
        """Remove an app from the instances that have it."""
        observed = self._begin(options)
        names = self._deployed(app, observed, targets, "undeployed from")
        return self._firing.run_app(
            CommandType.UNDEPLOY,
            app,
            names,
            observed=observed,
            options=options,
            cancel=cancel,
            asked={"targets": targets_as_data(targets)},
        )

    def rollback(self, app: str, targets: Targets, options: RunOptions, cancel: threading.Event | None) -> Outcome:
        """Go back to the release before the current one; after a failed deploy, to the last one that succeeded.

        Raises:
            UsageError: an instance has no earlier release; nothing ran.
        """
        self._declared(app)
        observed = self._begin(options)
        names = self._deployed(app, observed, targets, "rolled back")
        stuck = [name for name in names if observed.instances[name].apps[app].rollback_to is None]
        if stuck:
            raise UsageError(
                f"{app} has no earlier release on {', '.join(stuck)}; nothing was rolled back",
                hint=f"exclude them, or deploy a revision: opsflow deploy {self._stack.name} {app} --revision REVISION",
            )
        return self._firing.run_app(
            CommandType.ROLLBACK,
            app,
            names,
            observed=observed,
            options=options,
            cancel=cancel,
            asked={"targets": targets_as_data(targets)},
        )

    # ---------------------------------------------------------------------------------------- helpers

    def _begin(self, options: RunOptions) -> StackState:
        check_options(options)
        return self._office.records.load()

    def _declared(self, app: str) -> None:
        if app not in self._stack.apps:
            hint = did_you_mean(app, self._stack.apps) or f"the stack has {', '.join(self._stack.apps) or 'none'}"
            raise UsageError(f"there is no app '{app}'", hint=hint)

    def _deployed(self, app: str, observed: StackState, targets: Targets, doing: str) -> tuple[str, ...]:
        there = {name for name, state in observed.instances.items() if app in state.apps}
        if not there:
            raise UsageError(f"{app} is deployed nowhere in the stack '{self._stack.name}'")
        return self._choose(observed, targets, doing, f"does not have {app}", lambda each: each.name in there)

    def _choose(
        self, observed: StackState, targets: Targets, doing: str, unfit: str, fits: Callable[[Candidate], bool]
    ) -> tuple[str, ...]:
        """Online instances that fit; one that was named and does not fit is refused (decision D3)."""
        everyone = self._office.candidates(observed)
        for candidate in everyone:
            if candidate.name in targets.only and not fits(candidate):
                raise UsageError(f"{candidate.name} {unfit}")
        among = [candidate for candidate in everyone if fits(candidate)]
        return self._office.choose(observed, targets, ONLINE, doing, among=among)
