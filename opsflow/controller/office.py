"""What the use cases share: opening a request, choosing its instances, planning."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from opsflow.controller.bundles import Bundles
from opsflow.controller.context import RunOptions
from opsflow.controller.digests import Digests
from opsflow.controller.ledger import Ledger
from opsflow.controller.observing import seen
from opsflow.controller.parts import Parts
from opsflow.controller.preflight import Planned, check
from opsflow.controller.records import Records
from opsflow.controller.secrets import kept
from opsflow.controller.work import Work, as_request
from opsflow.errors import ConfigError, Problem, StoreError
from opsflow.lifecycle.reach import Candidate, Targets, select
from opsflow.lifecycle.states import why_down
from opsflow.model.command import Run
from opsflow.model.secrecy import secret_values
from opsflow.model.state import InstanceStatus, StackState
from opsflow.planning import Inputs


class Office:
    """One stack, its records and its journal."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.ledger = Ledger(parts)
        self.records = Records(parts, self.ledger)
        self.recovered: tuple[int, int] | None = None
        """Version of the state before and after recovering, when that only wrote down what the machines are like."""

    def observe(self) -> StackState:
        """The stack as it is. Who has no lease sees what recovering would find, and writes nothing.

        Raises:
            ConfigError: the stack file names another provider than the one that has the machines.
            ProviderError: the provider cannot say which machines there are.
        """
        observed = self.records.load()
        self.refuse_other_provider(observed)
        if self.parts.lease is not None:
            return observed  # recovering has written it down
        return seen(observed, self.parts.compute, self.parts.clock.now())

    def only_recovered(self, before: int, now: int) -> bool:
        """Whether all that changed between two versions of the state is what a plan could see of the machines."""
        return self.recovered == (before, now)

    def inputs(self, observed: StackState) -> Inputs:
        """What planning needs, read anew."""
        return Digests(self.parts).inputs(observed)

    def refuse_other_provider(self, observed: StackState) -> None:
        """Machines stay with the provider that made them: another one cannot even see them.

        Raises:
            ConfigError: the stack file names another one than that of a machine that may still be there.
        """
        now = self.parts.compute.name
        before = {
            state.name: state.provider
            for state in observed.instances.values()
            if state.provider not in (None, now) and (state.machine or state.status is not InstanceStatus.STOPPED)
        }
        if before:
            names, first = ", ".join(before), next(iter(before.values()))
            raise ConfigError(
                [
                    Problem(
                        file=str(self.parts.context.file),
                        path="compute/provider",
                        message=f"is '{now}', but the machines of {names} were made by '{first}'",
                        hint=f"set it back to '{first}'; to move the stack, run 'opsflow destroy "
                        f"{self.parts.stack.name}' before you change it",
                    )
                ]
            )

    def candidates(self, observed: StackState) -> tuple[Candidate, ...]:
        """Every instance: the declared ones in the stack's order, then those that are still there."""
        found = {
            name: Candidate(name, member.layers, InstanceStatus.STOPPED)
            for name, member in self.parts.stack.members.items()
        }
        found |= {
            name: Candidate(name, state.layers, state.status, why_down(state))
            for name, state in observed.instances.items()
        }
        return tuple(found.values())

    def choose(
        self,
        observed: StackState,
        targets: Targets,
        statuses: Collection[InstanceStatus],
        doing: str,
        *,
        among: Iterable[Candidate] | None = None,
    ) -> tuple[str, ...]:
        """The instances that a request reaches (decision D3).

        Raises:
            UsageError: a named instance cannot be reached, or nobody can.
        """
        chosen = tuple(self.candidates(observed) if among is None else among)
        return select(chosen, targets, statuses, layers=self.parts.stack.layers, doing=doing)

    def preflight(self, observed: StackState, planned: Iterable[Planned], options: RunOptions) -> None:
        """Refuse recipes that cannot work, before anything runs.

        Raises:
            RecipeError: with every problem.
        """
        check(self.parts, observed, planned, attributes=options.attributes, mode=options.mode)

    def open(
        self,
        action: str,
        use: str,
        *,
        options: RunOptions | None = None,
        cancel: threading.Event | None = None,
        revisions: Mapping[str, str | None] | None = None,
        bundles: Bundles | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Work:
        """A new request with its run, which is committed when it starts."""
        lease = self.parts.lease
        if lease is None:
            raise StoreError("this controller only reads")
        options = options or RunOptions()
        redact = self.parts.redact
        redact.add(*secret_values(options.attributes))
        remembered = replace(options, attributes=kept(options.attributes, redact), comment=redact.text(options.comment))
        run = Run(
            id=self.parts.store.next_run_id(lease),
            stack=self.parts.stack.name,
            action=action,
            request=as_request(use, remembered, **(asked or {})),
            actor=lease.owner,
            comment=remembered.comment,
            epoch=lease.epoch,
            created_at=self.parts.clock.now(),
        )
        return Work(
            self.parts,
            self.ledger,
            self.records,
            Digests(self.parts),
            run,
            options=options,
            cancel=cancel or threading.Event(),
            bundles=bundles or Bundles(self.parts, revisions),
        )


def targets_as_data(targets: Targets) -> dict[str, list[str]]:
    """Targets as JSON-like data, without what was not given."""
    given = {"layers": targets.layers, "only": targets.only, "exclude": targets.exclude}
    return {name: list(values) for name, values in given.items() if values}


def targets_from_data(data: Mapping[str, Any]) -> Targets:
    """The inverse of :func:`targets_as_data`."""
    return Targets(**{name: tuple(values) for name, values in data.items()})
