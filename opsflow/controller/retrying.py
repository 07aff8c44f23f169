"""The same request again, for everyone or for those that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from opsflow.controller.applying import Applying
from opsflow.controller.context import Outcome, RunOptions
from opsflow.controller.deploying import Deploying
from opsflow.controller.firing import Firing
from opsflow.controller.office import Office, targets_from_data
from opsflow.controller.powering import Powering
from opsflow.controller.secrets import masked
from opsflow.errors import UsageError
from opsflow.lifecycle.reach import Targets
from opsflow.model.attributes import merge
from opsflow.model.command import CommandStatus, Run
from opsflow.model.events import LifecycleEvent

_BAD = (CommandStatus.FAILED, CommandStatus.EXPIRED, CommandStatus.CANCELLED)
_ARRIVED = ("instance.online", "instance.stopped", "instance.terminated")
_ENTRIES_LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, as a run remembers it."""

    asked: Mapping[str, Any]
    targets: Targets
    options: RunOptions
    cancel: threading.Event | None


class Retrying:
    """Asks again."""

    def __init__(
        self, office: Office, applying: Applying, firing: Firing, deploying: Deploying, powering: Powering
    ) -> None:
        self._office = office
        self._applying = applying
        self._firing = firing
        self._deploying = deploying
        self._powering = powering

    def retry(
        self, run_id: str, failed_only: bool, options: RunOptions | None, cancel: threading.Event | None
    ) -> Outcome:
        """Make the request of a run again. A plan is made anew: what succeeded is not in it any more.

        Args:
            run_id: the run.
            failed_only: only on the instances on which it failed or was broken off.
            options: where they differ from the default they replace those of the run; attributes are merged over
                its own.
            cancel: breaks it off.

        Raises:
            UsageError: no such run of this stack, nothing of it failed, or it had secret attributes, which are not
                kept and were not given again.
        """
        run = self._office.parts.store.run(run_id)
        if run is None or run.stack != self._office.parts.stack.name:
            raise UsageError(f"the stack '{self._office.parts.stack.name}' has no run {run_id}")
        targets = targets_from_data(_mapping(run.request.get("targets")))
        if failed_only:
            targets = replace(targets, layers=(), only=self._failed(run), exclude=())
        kept = RunOptions.from_data(_mapping(run.request.get("options")))
        request = Request(run.request, targets, _over(options or RunOptions(), kept, run), cancel)
        use = str(run.request.get("use", ""))
        again = self._uses().get(use)
        if again is None:
            raise UsageError(f"run {run_id} ({run.action}) cannot be repeated")
        return again(request)

    def _uses(self) -> Mapping[str, Callable[[Request], Outcome]]:
        return {
            "apply": self._apply,
            "event": lambda r: self._firing.run_event(LifecycleEvent(r.asked["event"]), r.targets, r.options, r.cancel),
            "recipes": lambda r: self._firing.run_recipes(tuple(r.asked["recipes"]), r.targets, r.options, r.cancel),
            "deploy": lambda r: self._deploying.deploy(
                r.asked["app"], r.asked.get("revision"), r.targets, r.options, r.cancel
            ),
            "undeploy": lambda r: self._deploying.undeploy(r.asked["app"], r.targets, r.options, r.cancel),
            "rollback": lambda r: self._deploying.rollback(r.asked["app"], r.targets, r.options, r.cancel),
            "start": lambda r: self._powering.start(r.targets, r.cancel, again=True),
            "stop": lambda r: self._powering.stop(r.targets, r.cancel, again=True),
            "reboot": lambda r: self._powering.reboot(r.targets, r.cancel, again=True),
        }

    def _apply(self, request: Request) -> Outcome:
        destroying = request.asked.get("plan") == "destroy"
        plan = self._applying.plan_destroy() if destroying else self._applying.plan_up()
        return self._applying.apply(plan, request.cancel)

    def _failed(self, run: Run) -> tuple[str, ...]:
        """The instances on which a command failed or was broken off, or that did not come to where they should."""
        store = self._office.parts.store
        failed = dict.fromkeys(c.instance for c in store.commands(run=run.id) if c.status in _BAD)
        last = {
            entry.instance: entry.kind
            for entry in store.journal(run.stack, run=run.id, limit=_ENTRIES_LOOKED_AT)
            if entry.instance and entry.kind.startswith("instance.")
        }
        failed |= dict.fromkeys(name for name, kind in last.items() if kind not in _ARRIVED)
        if not failed and run.request.get("use") != "apply":
            raise UsageError(f"nothing of run {run.id} ({run.action}) failed")
        return tuple(failed)


def _over(given: RunOptions, kept: RunOptions, run: Run) -> RunOptions:
    attributes = merge(kept.attributes, given.attributes)
    if lost := tuple(masked(attributes)):
        raise UsageError(
            f"run {run.id} ({run.action}) was given {', '.join(lost)}, which is secret and was not kept",
            hint=f"give it again: {' '.join(f'--set {key}=VALUE' for key in lost)}",
        )
    return replace(given.over(kept), attributes=attributes)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
