"""A plan is carried out in batches when setup runs again on instances that serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from opsflow.controller.conductor import Conductor
from opsflow.controller.work import Work
from opsflow.model.state import StackState
from opsflow.planning import Plan, Step
from opsflow.planning.rolling import Serving, sets_up

CarryOut = Callable[[str, Sequence[Step]], None]


class Rolling:
    """Takes a plan's instances batch by batch.

    The next ones follow when those before are online again and everyone has configured. Where they are not, the rest
    stays in service as it is.
    """

    def __init__(self, work: Work, conductor: Conductor, plan: Plan, observed: StackState) -> None:
        self._work = work
        self._conductor = conductor
        self._chains = plan.chains()
        self._batches = plan.batches
        self._serving = Serving.of(observed, self._chains)
        self._tried: list[str] = []
        self._last: list[str] = []
        """Those of the last batch."""

    def go(self, carry_out: CarryOut) -> None:
        """Carry out the chains of all instances; those of later batches only as long as it goes well."""
        later = [name for batch in self._batches[1:] for name in batch]
        self._perform([name for name in self._chains if name not in later], carry_out)
        for batch in self._batches[1:]:
            if self._work.cancel.is_set():
                return
            self._perform(self._admitted(batch), carry_out)

    def _perform(self, names: Sequence[str], carry_out: CarryOut) -> None:
        self._last = [name for name in names if sets_up(self._chains[name])] or self._last
        self._tried += [name for name in self._last if name not in self._tried]
        self._conductor.perform([partial(carry_out, name, self._chains[name]) for name in names])

    def _admitted(self, batch: Sequence[str]) -> list[str]:
        """Those of a batch that may go out of service now; the others are noted as failed."""
        admitted: list[str] = []
        for name in batch:
            why_not = self._why_not(name, admitted)
            if why_not:
                self._work.fail(name, f"not set up again, it stays as it is: {why_not}")
            else:
                admitted.append(name)
        return admitted

    def _why_not(self, name: str, admitted: Sequence[str]) -> str:
        if self._all_failed(self._last):
            return f"it failed on {', '.join(self._last)}"
        observed = self._work.records.state()
        lost = [other for other in self._tried if other not in observed.online]
        layer = self._serving.crowded(name, [*lost, *admitted])
        if layer is None:
            return self._nobody_came_through(name)
        return f"{', '.join(self._of_layer(layer, lost))} of its layer {layer} did not come online again"

    def _nobody_came_through(self, name: str) -> str:
        for layer in self._serving.layers_of(name):
            tried = self._of_layer(layer, self._tried)
            if self._all_failed(tried):
                return f"it failed on {', '.join(tried)} of its layer {layer}"
        return ""

    def _all_failed(self, names: Sequence[str]) -> bool:
        return bool(names) and len(self._work.failed(names)) == len(names)

    def _of_layer(self, layer: str, names: Sequence[str]) -> list[str]:
        instances = self._work.records.state().instances
        return [name for name in names if name in instances and layer in instances[name].layers]
