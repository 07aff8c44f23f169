"""What an opsflow that was killed left open in the store is closed: nothing stays `running` that nobody carries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from opsflow.clock import Clock
from opsflow.controller.ledger import News
from opsflow.errors import LockHeld, StoreError
from opsflow.lifecycle.states import Trigger, transition
from opsflow.model.command import Command, CommandStatus, Run, RunStatus
from opsflow.model.journal import JournalEntry
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Changes, Lease, Store

_WHILE = "the controller ended while it ran"
_BEFORE = "the controller ended before it ran"
_RUNS_LOOKED_AT = 1000
_PATIENCE = 3.0
"""Seconds that another one gets for closing it."""
_PAUSE = 0.2
"""Seconds to wait for the lease at once: longer than one takes that only looks, as this one."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Records as they must be when their process has ended."""

    commands: tuple[Command, ...] = ()
    runs: tuple[Run, ...] = ()
    states: tuple[InstanceState, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands or self.runs or self.states)

    def news(self) -> tuple[News, ...]:
        """One journal entry for each."""
        return (
            *(_of_command(each) for each in self.commands),
            *(_of_run(each) for each in self.runs),
            *(_of_state(each) for each in self.states),
        )


def aftermath(store: Store, stack: str, now: datetime) -> Aftermath:
    """What is open and must be closed, provided that nobody works on the stack.

    Never "successful" by guess: what ran has failed, what waited is cancelled, its run is interrupted.
    """
    return Aftermath(
        commands=tuple(_closed(each, now) for each in store.commands(stack=stack, unfinished=True)),
        runs=tuple(_interrupted(run, now) for run in store.runs(stack, limit=_RUNS_LOOKED_AT, unfinished=True)),
        states=tuple(
            _set_up_no_more(state, now)
            for state in store.state(stack).instances.values()
            if state.status is InstanceStatus.RUNNING_SETUP
        ),
    )


def broken_off(command: Command) -> bool:
    """Whether its controller died while it ran; its host may know more about it."""
    return command.status is CommandStatus.FAILED and command.detail == _WHILE


def settle(store: Store, clock: Clock, owner: str) -> None:
    """Close what is open in any stack, unless somebody is the writer and carries it out."""
    deadline = clock.monotonic() + _PATIENCE
    while found := _open(store, clock.now()):
        try:
            with store.lease(owner, wait=_PAUSE) as lease:
                close_all(store, lease, clock.now())
        except StoreError:
            return  # Whoever only looks may not be able to write, and must see what is there all the same.
        except LockHeld:
            # A newer writer than that of the open runs closes them before it does anything else.
            if clock.monotonic() >= deadline or store.epoch() in _epochs(found.values()):
                return


def _epochs(found: Iterable[Aftermath]) -> set[int]:
    epochs: set[int] = set()
    for each in found:
        epochs |= {run.epoch for run in each.runs} | {command.epoch for command in each.commands}
    return epochs


def close_all(store: Store, lease: Lease, now: datetime, *, but: str = "") -> None:
    """Close what is open in any stack except ``but``; the holder of the lease carries nothing out yet."""
    for stack, found in _open(store, now, but=but).items():
        entries = _entries(found.news(), stack, now)
        changes = Changes(entries, instances=found.states, runs=found.runs, commands=found.commands)
        store.commit(lease, changes)


def _open(store: Store, now: datetime, *, but: str = "") -> dict[str, Aftermath]:
    every = {stack: aftermath(store, stack, now) for stack in store.stacks() if stack != but}
    return {stack: found for stack, found in every.items() if found}


def _closed(command: Command, now: datetime) -> Command:
    ran = command.status is CommandStatus.RUNNING
    status, detail = (CommandStatus.FAILED, _WHILE) if ran else (CommandStatus.CANCELLED, _BEFORE)
    return command.model_copy(update={"status": status, "detail": detail, "completed_at": now})


def _interrupted(run: Run, now: datetime) -> Run:
    return run.model_copy(update={"status": RunStatus.INTERRUPTED, "detail": _WHILE, "completed_at": now})


def _set_up_no_more(state: InstanceState, now: datetime) -> InstanceState:
    status = transition(state.status, Trigger.SETUP_FAILED)
    return state.model_copy(update={"status": status, "reason": f"interrupted: {_WHILE}", "changed_at": now})


def _entries(news: Sequence[News], stack: str, now: datetime) -> list[JournalEntry]:
    return [
        JournalEntry(
            at=now, stack=stack, kind=each.kind, message=each.message,
            run=each.run, command=each.command, instance=each.instance,
        )
        for each in news
    ]  # fmt: skip


def _of_command(command: Command) -> News:
    text = f"{command.type} on {command.instance} is {command.status}: {command.detail}"
    return News.of(command, f"command.{command.status}", text)


def _of_run(run: Run) -> News:
    return News("run.interrupted", f"run {run.id} ({run.action}) was interrupted: {run.detail}", run=run.id)


def _of_state(state: InstanceState) -> News:
    return News(f"instance.{state.status}", f"{state.name} is {state.status}: {state.reason}", instance=state.name)
