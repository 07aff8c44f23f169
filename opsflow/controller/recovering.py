"""The first thing after the lease was acquired: nothing of an earlier process stays `running`, no machine is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opsflow.controller.aftermath import aftermath, close_all
from opsflow.controller.ledger import News
from opsflow.controller.observing import finding
from opsflow.controller.office import Office
from opsflow.controller.tokens import last_generation, token_of
from opsflow.lifecycle.states import Trigger
from opsflow.model.command import Command
from opsflow.model.machine import Machine
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Changes

_GENERATIONS_AHEAD = 16
"""How far the machines may be ahead of the records, when an older copy of the store was put back."""


class Recovering:
    """Squares the records with what is there."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._parts = office.parts
        self._stack = office.parts.stack

    def recover(self) -> tuple[Command, ...]:
        """Close what an earlier process left open, then compare the records with the provider's machines.

        Returns:
            The commands that were closed.

        Raises:
            ConfigError: the stack file names another provider than the one that has the machines.
        """
        before = self._office.records.load()
        self._office.refuse_other_provider(before)
        found = aftermath(self._parts.store, self._stack.name, self._parts.clock.now())
        if found:
            changes = Changes(entries=(), runs=found.runs, commands=found.commands)
            self._office.records.commit(found.states, *found.news(), changes=changes)
        if self._parts.lease is not None:
            close_all(self._parts.store, self._parts.lease, self._parts.clock.now(), but=self._stack.name)
        self._see_machines()
        if not found:
            self._office.recovered = (before.version, self._parts.store.state(self._stack.name).version)
        return found.commands

    # ---------------------------------------------------------------------------------------- machines

    def _see_machines(self) -> None:
        machines = {machine.token: machine for machine in self._parts.compute.list(self._stack.name)}
        states = self._office.records.state().instances
        for state in states.values():
            self._see(state, machines.get(state.token or ""))
        known = {state.token for state in states.values()}
        strangers = [machine for token, machine in machines.items() if token not in known]
        if strangers:
            self._see_strangers(strangers)

    def _see(self, state: InstanceState, machine: Machine | None) -> None:
        """One record and its machine."""
        found = finding(state, machine, self._parts.compute)
        if found.ended:
            self._office.records.move(state, Trigger.MACHINE_ENDED, found.ended, run=None, machine=found.machine)
        elif found.machine is not None and found.machine != state.machine:
            self._note_machine(state, found.machine)

    def _note_machine(self, state: InstanceState, machine: Machine) -> None:
        new = state.machine is None
        kind, text = ("machine.adopted", "has this machine") if new else ("machine.changed", "its machine changed")
        where = f" at {machine.address}" if machine.address else ""
        news = News(kind, f"{state.name}: {text}{where}", instance=state.name, data={"machine": machine.id})
        # Without a key it is refused; with another one later it is another machine.
        known = state.machine.host_keys if state.machine and not machine.host_keys else ()
        change = {"machine": machine, "known_by": known or state.known_by}
        self._office.records.update(state.name, lambda now: now.model_copy(update=change), news)

    def _see_strangers(self, machines: Sequence[Machine]) -> None:
        """Machines of this stack without a record: they get one again, unless their instance has another machine."""
        owners = self._owners(machine.instance for machine in machines if machine.instance)
        for machine in machines:
            name, generation = owners.get(machine.token, (None, 0))
            if name is None:
                self._office.ledger.write(
                    News(
                        "machine.unknown",
                        f"the provider has a machine {machine.id} of this stack that no record explains; "
                        "it is left alone",
                        data={"machine": machine.id},
                    )
                )
            elif self._office.records.find(name) is None:
                self._adopt(name, generation, machine)
            else:
                self._terminate(name, machine)

    def _owners(self, others: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Every token that one of our instances, or of these ``others``, may have had -> (instance, generation)."""
        owners = {}
        states = self._office.records.state().instances
        for name in dict.fromkeys((*self._stack.members, *states, *others)):
            newest = last_generation(self._parts.store, self._stack.name, name)
            newest = max(newest, states[name].generation if name in states else 0)
            for generation in range(1, newest + _GENERATIONS_AHEAD + 1):
                owners[token_of(self._stack.name, name, generation)] = (name, generation)
        return owners

    def _adopt(self, name: str, generation: int, machine: Machine) -> None:
        declared = self._office.records.declare(name, generation)
        state = declared.model_copy(
            update={
                "status": InstanceStatus.BOOTING,
                "token": machine.token,
                "machine": machine,
                "reason": "a machine of it was found",
            }
        )
        text = f"{name}: a machine of it was found and is taken over"
        news = News("machine.adopted", text, instance=name, data={"machine": machine.id, "generation": generation})
        self._office.records.commit([state], news)

    def _terminate(self, name: str, machine: Machine) -> None:
        intent = News("machine.orphaned", f"{name}: an older machine of it is still there and is ended", instance=name,
                      data={"machine": machine.id})  # fmt: skip
        self._office.ledger.write(intent)
        self._parts.compute.terminate(machine)
        self._office.ledger.write(News("machine.terminated", f"{name}: an older machine of it is ended", instance=name,
                                       data={"machine": machine.id}))  # fmt: skip
