"""The first thing after the lease was acquired: nothing of an earlier process stays `running`, no machine is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from opsflow.controller.ledger import News
from opsflow.controller.office import Office
from opsflow.controller.records import moved
from opsflow.controller.tokens import last_generation, token_of
from opsflow.lifecycle.states import UP, Trigger
from opsflow.model.command import Command, CommandStatus, Run, RunStatus
from opsflow.model.machine import Machine, MachineState
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Changes

_WHILE = "the controller ended while it ran"
_BEFORE = "the controller ended before it ran"
_RUNS_LOOKED_AT = 1000
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
        """
        self._office.records.load()
        closed = self._close_commands()
        self._see_machines()
        return closed

    # ---------------------------------------------------------------------------------------- commands

    def _close_commands(self) -> tuple[Command, ...]:
        """Never "successful" by guess: what ran has failed, what waited is cancelled, its run is interrupted."""
        commands = [self._closed(each) for each in self._parts.store.commands(stack=self._stack.name, unfinished=True)]
        runs = [self._interrupted(run) for run in self._open_runs()]
        states = [
            moved(state, Trigger.SETUP_FAILED, f"interrupted: {_WHILE}", self._parts)
            for state in self._office.records.state().instances.values()
            if state.status is InstanceStatus.RUNNING_SETUP
        ]
        if commands or runs or states:
            news = chain(map(_of_command, commands), map(_of_run, runs), map(_of_state, states))
            changes = Changes(entries=(), runs=runs, commands=commands)
            self._office.records.commit(states, *news, changes=changes)
        return tuple(commands)

    def _closed(self, command: Command) -> Command:
        ran = command.status is CommandStatus.RUNNING
        status, detail = (CommandStatus.FAILED, _WHILE) if ran else (CommandStatus.CANCELLED, _BEFORE)
        return command.model_copy(update={"status": status, "detail": detail, "completed_at": self._parts.clock.now()})

    def _open_runs(self) -> Iterator[Run]:
        runs = self._parts.store.runs(self._stack.name, limit=_RUNS_LOOKED_AT)
        return (run for run in runs if run.status is RunStatus.RUNNING)

    def _interrupted(self, run: Run) -> Run:
        return run.model_copy(
            update={"status": RunStatus.INTERRUPTED, "detail": _WHILE, "completed_at": self._parts.clock.now()}
        )

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
        running = machine is not None and machine.state in (MachineState.RUNNING, MachineState.STARTING)
        if state.status in UP and not running:
            what = "is gone" if machine is None or machine.state is MachineState.GONE else f"was {machine.state}"
            kept = None if what == "is gone" else machine
            why = f"its machine {what} without opsflow"
            self._office.records.move(state, Trigger.MACHINE_ENDED, why, run=None, machine=kept)
        elif machine is not None and state.machine != machine and (state.machine is None or running):
            self._note_machine(state, machine)

    def _note_machine(self, state: InstanceState, machine: Machine) -> None:
        new = state.machine is None
        kind, text = ("machine.adopted", "has this machine") if new else ("machine.changed", "its machine changed")
        where = f" at {machine.address}" if machine.address else ""
        news = News(kind, f"{state.name}: {text}{where}", instance=state.name, data={"machine": machine.id})
        self._office.records.update(state.name, lambda now: now.model_copy(update={"machine": machine}), news)

    def _see_strangers(self, machines: Sequence[Machine]) -> None:
        """Machines of this stack without a record: adopted when they belong to a declared instance, else ended."""
        owners = self._owners()
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
            elif self._office.records.find(name) is None and name in self._stack.members:
                self._adopt(name, generation, machine)
            else:
                self._terminate(name, machine)

    def _owners(self) -> dict[str, tuple[str, int]]:
        """Every token that one of our instances may have had -> (instance, generation)."""
        owners = {}
        states = self._office.records.state().instances
        for name in dict.fromkeys((*self._stack.members, *states)):
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


def _of_command(command: Command) -> News:
    text = f"{command.type} on {command.instance} is {command.status}: {command.detail}"
    return News.of(command, f"command.{command.status}", text)


def _of_run(run: Run) -> News:
    return News("run.interrupted", f"run {run.id} ({run.action}) was interrupted: {run.detail}", run=run.id)


def _of_state(state: InstanceState) -> News:
    return News(f"instance.{state.status}", f"{state.name} is {state.status}: {state.reason}", instance=state.name)
