"""The loop of one host: plan, fetch what is missing, compile, exchange; on a difference plan again from there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait

from opsflow.clock import Clock
from opsflow.engine.barriers import Attempts, Barriers, TooLate, goes_on, tried_in_vain
from opsflow.engine.earlier import Earlier
from opsflow.engine.exchange import Exchange, Heard, Limits, Listener
from opsflow.engine.memory import NOVICE, Experience, Recalled
from opsflow.engine.messages import (
    Barrier,
    CommandAnswer,
    FactAnswer,
    FactStep,
    HostPlan,
    OperationState,
    Outcome,
    PlannedOperation,
    PlanRequest,
    Step,
)
from opsflow.engine.progress import Progress, learned
from opsflow.engine.report import Report
from opsflow.engine.resume import Lifeline
from opsflow.engine.script import Program, compile_operations
from opsflow.engine.session import ConnectError, Connection, LinkLost, ShellEnded, Why
from opsflow.engine.shell import DirectoryGone, HostBusy, Interrupted, NoShell, Shell
from opsflow.model.result import HostResult, HostStatus
from opsflow.ports import HostJob, HostObserver, PhaseChanged

PATIENCE = 6
"""Differences after which operations are exchanged one at a time, which is always correct."""

Plan = Callable[[PlanRequest], Future[HostPlan]]


class Ended(Exception):
    """The run of this host is over."""

    def __init__(self, status: HostStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class HostRun:
    """Runs one job on its host. Used once."""

    def __init__(
        self,
        job: HostJob,
        *,
        request: PlanRequest,
        plan: Plan,
        experience: Experience = NOVICE,
        connect: Callable[[], Connection],
        clock: Clock,
        observe: HostObserver,
        cancel: threading.Event,
    ) -> None:
        self._job = job
        self._initial = request
        self._plan = plan
        self._first = experience.first
        self._experience = experience
        self._recalled: HostPlan | None = None
        self._ask: tuple[str, ...] = ()
        """Facts that are asked for before anything is planned."""
        self._kept: HostPlan | None = None
        """The plan of this run, as long as it is the only one and everything was as it assumed."""
        self._connect = connect
        self._clock = clock
        self._observe = observe
        self._cancel = cancel
        self._progress = Progress()
        self._report = Report(job, observe)
        self._misses = 0
        deadline = clock.monotonic() + job.timeouts.run
        self._limits = Limits(lambda _: job.timeouts.command, deadline, cancel)
        self._attempts = Attempts(clock, self._limits, self._report.say)
        self._barriers = Barriers(clock, self._limits, self._read, self._reopen)
        self._call = -1
        self._lifeline = Lifeline(
            job, open_shell=self._new_shell, clock=clock, limits=self._limits, observe=observe, count=self._report.count
        )
        self._earlier = Earlier(None, clock)
        self._shell: Shell

    def run(self) -> HostResult:
        """The result; whatever happens on the host, it is a result."""
        try:
            self._on(self._open())
        except ConnectError as error:
            status = HostStatus.FAILED if error.why is Why.HOST_KEY else HostStatus.UNREACHABLE
            return self._report.result(status, str(error))
        except ShellEnded as error:
            return self._report.result(HostStatus.FAILED, f"{error}: it was ended, perhaps by a newer controller")
        except LinkLost as error:
            return self._report.result(HostStatus.UNREACHABLE, str(error))
        except (HostBusy, NoShell, OSError) as error:
            cancelled = self._cancel.is_set()
            return self._report.result(HostStatus.CANCELLED if cancelled else HostStatus.FAILED, str(error))
        except Ended as end:
            return self._report.result(end.status, str(end))
        except (TooLate, Interrupted) as why:
            cancelled = self._cancel.is_set()
            return self._report.result(HostStatus.CANCELLED if cancelled else HostStatus.TIMEOUT, str(why))
        except Exception as error:  # noqa: BLE001 - other hosts must not suffer from what goes wrong with this one
            return self._report.defect(error)
        return self._report.result(HostStatus.OK, "")

    def _open(self) -> Shell:
        self._phase("connecting")
        with self._report.timed("connect"):
            try:
                return self._new_shell()
            except LinkLost:
                # A connection that was kept from an earlier run may be dead unnoticed; nothing has run yet.
                return self._new_shell()

    def _new_shell(self) -> Shell:
        connection = self._connect()
        shell, connection.shell = connection.shell, None
        if isinstance(shell, Shell):
            shell.begin()
            return shell
        return Shell(connection, self._clock)

    def _on(self, shell: Shell) -> None:
        self._shell = shell
        try:
            if self._report.running:
                self._earlier = Earlier(self._lifeline.begin(shell), self._clock)
                if self._earlier.origin:
                    self._first = None  # it was made without what is known now
            self._go()
        finally:
            if self._shell.leave(self._limits):
                self._shell.connection.shell = self._shell
            self._report.count(self._shell)

    def _go(self) -> None:
        self._recall()
        while True:
            try:
                if self._round(self._shell):
                    return
            except DirectoryGone:
                self._shell = self._lifeline.renew(self._shell)
            except LinkLost as lost:
                self._shell = self._lifeline.again(self._shell, lost)
                self._progress.fresh.clear()

    def _round(self, shell: Shell) -> bool:
        """Plan, and do the next thing that the plan asks for; True when nothing is left to do."""
        if self._ask:
            self._fetch(shell, self._ask)
            self._ask = ()
        plan = self._next_plan()
        shell.know(plan.passwords)
        if plan.missing:
            self._kept = None
            self._fetch(shell, [fact.key for fact in plan.missing])
            return False
        if not self._report.running:
            self._report.would(plan, lambda key: self._read(shell, key))
            return True
        if self._settle(plan) or not self._ship(shell, plan):
            return False
        if not self._shell.round_trips:
            self._fetch(self._shell, [])  # nothing to do; but the host must be there, and free for us
        if not self._earlier.origin:
            self._experience.learn(learned(self._progress, self._kept))
        return True

    def _settle(self, plan: HostPlan) -> bool:
        """Take what an earlier run has done as done; True when there must be another plan."""
        earlier, progress = self._earlier, self._progress
        if earlier.last < progress.done:
            return False
        if progress.prepared is None:
            progress.prepared = {key: progress.known[key] for key in plan.prepared}
        before = earlier.changed
        settled = earlier.settle(self._batch(plan.operations[progress.done :]))
        for index, how in earlier.notes.items():
            self._report.resumed(index, how, changed=index in earlier.changed)
        if settled is not None:
            self._account(list(settled.batch), (), settled.program, settled.exchange)
        return settled is not None or earlier.changed != before

    def _recall(self) -> None:
        """Start from what is remembered; a check starts from what is."""
        recalled = self._experience.recalled or self._experience.unseen()
        if not self._report.running or self._earlier.origin:
            recalled = Recalled(ask=tuple(recalled.facts))
        self._progress.known.update(recalled.facts)
        self._progress.expected = recalled.expected
        self._recalled, self._ask = recalled.plan, recalled.ask

    # ------------------------------------------------------------------ planning

    def _next_plan(self) -> HostPlan:
        self._phase("planning")
        plan, self._recalled = self._recalled, None
        hit = plan is not None
        if plan is None:
            with self._report.timed("plan"):
                future, self._first = self._first or self._plan(self._request()), None
                plan = self._result(future)
        self._kept = plan if not self._progress.trace and not self._misses else None
        self._report.planned(plan, hit=hit)
        if plan.failure is not None:
            raise Ended(HostStatus.FAILED, self._report.plan_failed(plan.failure))
        return plan

    def _result(self, future: Future[HostPlan]) -> HostPlan:
        """Wait for a plan, but not longer than the user wants: a recipe may hang."""
        while True:
            if wait([future], timeout=0.2).done:
                return future.result()
            if self._cancel.is_set():
                raise Ended(HostStatus.CANCELLED, "cancelled while its recipes were planned")

    def _request(self) -> PlanRequest:
        progress = self._progress
        now = {
            "known": dict(progress.known),
            "expected": dict(progress.expected),
            "prepared": progress.prepared,
            "trace": tuple(tuple(outcomes) for outcomes in progress.trace),
            "began": tuple(progress.began),
            "done": progress.done,
            "call": self._call,
            "resumed": tuple(sorted(self._earlier.changed)),
            "origin": self._earlier.origin,
            "moment": self._earlier.moment,
        }
        return self._initial.model_copy(update=now)

    def _fetch(self, shell: Shell, keys: Sequence[str]) -> None:
        with self._report.timed("host"):
            exchange = shell.fetch(list(keys), self._limits)
        self._ended_early(exchange)
        unanswered = [key for key in keys if key not in exchange.facts]
        if unanswered:
            raise Ended(HostStatus.FAILED, f"the host gave no answer to a fact: {unanswered[0][:200]}")
        self._progress.known.update(exchange.facts)
        self._progress.fresh.update(exchange.facts)
        self._progress.first = {**exchange.facts, **self._progress.first}

    def _read(self, shell: Shell, key: str) -> FactAnswer | None:
        """Something that is no fact of a recipe: the present content of a file, for a diff."""
        exchange = shell.fetch([key], self._limits)
        self._ended_early(exchange)
        return exchange.facts.get(key)

    # ------------------------------------------------------------------ running

    def _ship(self, shell: Shell, plan: HostPlan) -> bool:
        """Run as many operations as are planned; True when the run list is complete."""
        progress = self._progress
        first: list[FactStep] = []
        if progress.prepared is None:
            progress.prepared = {key: progress.known[key] for key in plan.prepared}
            first = [FactStep(key=key) for key in plan.prepared if key not in progress.fresh]
        rest = plan.operations[progress.done :]
        batch = self._batch(rest)
        if rest and not batch:
            self._broken(rest[0])
            return False
        if batch and self._attempts.follow(batch[0]):
            progress.fresh.clear()  # they were read before it waited
        if first or any(self._for_the_host(step) for operation in batch for step in operation.steps):
            if self._report.wants_diff:
                self._report.diffs(batch, lambda key: self._read(shell, key))
            all_ends = len(batch) == len(rest) and not any(each.open or each.failed for each in batch)
            return self._exchange(shell, batch, first, complete=all_ends)
        for operation in batch:
            facts = (step for step in operation.steps if isinstance(step, FactStep))
            progress.outcomes(operation).extend(_fact(fact, progress.known) for fact in facts)
            if operation.barrier is not None:
                self._pass(operation, operation.barrier)
            elif self._ended(operation):
                continue
            return False
        return len(batch) == len(rest)

    def _pass(self, operation: PlannedOperation, barrier: Barrier) -> None:
        """Do what no script can; what is known of the host is only assumed from here on."""
        self._progress.fresh.clear()
        if barrier.what == "call" and barrier.answer is None:
            self._call = operation.index  # the next plan calls it
            return
        self._call = -1
        self._report.begin(operation)
        before = self._shell
        with self._report.timed("host"):
            answer, self._shell = self._barriers.meet(barrier, before)
        if self._shell is not before:
            self._report.count(before)
        self._progress.wrote = True
        outcome = Outcome(step=barrier.display, command=answer, changes=barrier.changes)
        self._progress.outcomes(operation).append(outcome)
        self._report.passed(operation, barrier, answer)
        if not answer.success and not goes_on(operation):
            self._report.operation_failed(operation)
            self._failed(operation)

    def _reopen(self) -> Shell:
        """A new connection, after a reboot; the lock has gone with the old one."""
        shell = self._new_shell()
        self._lifeline.begin(shell)
        return shell

    def _broken(self, operation: PlannedOperation) -> None:
        """The next operation has no plan: ask the host again for what was only assumed, else it is the end."""
        assumed = {step.key for step in operation.steps if isinstance(step, FactStep)} - self._progress.fresh
        for key in assumed:
            del self._progress.known[key]
        if assumed:
            return
        if operation.state is OperationState.FAILED:
            raise Ended(HostStatus.FAILED, self._report.operation_broken(operation))
        raise Ended(HostStatus.FAILED, f"operation '{operation.name}' cannot be planned: it needs its own results")

    def _for_the_host(self, step: Step) -> bool:
        """Whether it is a command, or a fact that is only assumed."""
        return not isinstance(step, FactStep) or step.key not in self._progress.fresh

    def _batch(self, rest: tuple[PlannedOperation, ...]) -> list[PlannedOperation]:
        batch: list[PlannedOperation] = []
        for operation in rest:
            if operation.state is not OperationState.PLANNED or (self._misses > PATIENCE and batch):
                break
            batch.append(operation)
            if operation.open or operation.failed:
                break
        return batch

    def _exchange(
        self, shell: Shell, batch: list[PlannedOperation], first: Sequence[FactStep], *, complete: bool
    ) -> bool:
        self._phase("running")
        progress = self._progress
        program = compile_operations(
            batch,
            shell.numbers,
            progress.known,
            fresh=progress.fresh,
            first=first,
            again=progress.met if complete else None,
            last=complete,
        )
        listener = Listener(
            started=lambda number: self._report.command_started(batch, program.commands[number]),
            output=lambda number, stream, data: self._report.output(batch, program.commands[number], stream, data),
        )
        limits = Limits(self._command_limit(batch, program), self._limits.deadline, self._cancel)
        with self._report.timed("host"):
            exchange = shell.run(program, limits, listener)
        if exchange.lost is not None:
            limit = limits.command
            self._shell = self._lifeline.reattach(shell, exchange, batch=batch, program=program, limit=limit)
            if first and not exchange.commands and exchange.miss is None:
                progress.prepared = None
        return self._account(batch, first, program, exchange) and complete

    def _command_limit(self, batch: list[PlannedOperation], program: Program) -> Callable[[int], float]:
        default = self._job.timeouts.command

        def limit(number: int) -> float:
            if number not in program.commands:
                return default
            position, index = program.commands[number]
            step = batch[position].steps[index]
            return getattr(step, "timeout", None) or default

        return limit

    def _account(
        self, batch: list[PlannedOperation], first: Sequence[FactStep], program: Program, exchange: Exchange
    ) -> bool:
        """Write down what happened; True when all of the batch ran."""
        progress = self._progress
        if exchange.miss is not None and exchange.miss[0] < 0:
            self._missed(first[exchange.miss[1]].key)
            progress.prepared = None
            progress.known.update(exchange.facts)
            progress.fresh = set(exchange.facts)
            self._ended_early(exchange)
            return False
        known, progress.known = progress.known, {**progress.known, **exchange.facts}
        progress.fresh = set(exchange.facts)
        heard = {program.commands[number]: heard for number, heard in exchange.commands.items()}
        complete = all(
            self._operation(operation, position, heard, known, exchange) for position, operation in enumerate(batch)
        )
        self._ended_early(exchange)
        return complete

    def _operation(
        self,
        operation: PlannedOperation,
        position: int,
        heard: dict[tuple[int, int], Heard],
        known: dict[str, FactAnswer],
        exchange: Exchange,
    ) -> bool:
        outcomes = self._progress.outcomes(operation)
        for index, step in enumerate(operation.steps):
            if exchange.until is not None and (position, index) >= exchange.until:
                return False
            if exchange.miss == (position, index):
                assert isinstance(step, FactStep)  # noqa: S101 - only facts are verified
                self._missed(step.key)
                # Without an answer the shell ended right after it had said that there is a difference.
                if step.key in exchange.facts:
                    outcomes.append(_fact(step, exchange.facts))
                return False
            if isinstance(step, FactStep):
                self._as_assumed(step, known, exchange, outcomes)
                continue
            command = heard.get((position, index))
            if command is None:
                return False
            self._progress.wrote = True
            succeeded = self._report.command_ended(operation, step, command)
            outcomes.append(Outcome(step=step.identity, command=_answer(command, succeeded)))
            if not succeeded:
                if not goes_on(operation):
                    self._report.operation_failed(operation)
                self._ended_early(exchange)
                return not goes_on(operation) and self._failed(operation)
        return self._ended(operation)

    def _as_assumed(
        self, step: FactStep, known: Mapping[str, FactAnswer], exchange: Exchange, outcomes: list[Outcome]
    ) -> None:
        """The host has confirmed a fact."""
        answer = step.answer or known[step.key]
        outcomes.append(Outcome(step=step.identity, fact=answer))
        self._progress.first.setdefault(step.key, answer)
        if step.key not in exchange.facts:
            self._progress.known[step.key] = answer

    def _missed(self, key: str) -> None:
        """A fact was not as assumed."""
        self._misses += 1
        self._kept = None
        self._report.missed()
        if not self._progress.wrote:
            self._progress.surprises.add(key)

    def _ended(self, operation: PlannedOperation) -> bool:
        """All steps of an operation ran; True when the next operation may follow at once."""
        if tried_in_vain(operation):
            self._report.operation_failed(operation)
            return self._failed(operation)
        if operation.failed or operation.open:
            return False
        self._passed(operation)
        return True

    def _passed(self, operation: PlannedOperation) -> None:
        self._report.operation_ended(operation)
        self._progress.done = operation.index + 1

    def _failed(self, operation: PlannedOperation) -> bool:
        """A command failed: the end of this host, unless the recipe said to go on; what was assumed is void."""
        if not operation.ignore_errors:
            raise Ended(HostStatus.FAILED, self._report.detail)
        self._progress.done = operation.index + 1
        return False

    def _ended_early(self, exchange: Exchange) -> None:
        if exchange.lost is not None:
            raise exchange.lost
        if exchange.stopped:
            cancelled = exchange.stopped.startswith("cancelled")
            raise Ended(HostStatus.CANCELLED if cancelled else HostStatus.TIMEOUT, exchange.stopped)

    def _phase(self, name: str) -> None:
        self._observe(PhaseChanged(self._job.node.name, name))
        if self._cancel.is_set():
            raise Ended(HostStatus.CANCELLED, "cancelled")


def _fact(step: FactStep, answers: Mapping[str, FactAnswer]) -> Outcome:
    return Outcome(step=step.identity, fact=answers[step.key])


def _answer(heard: Heard, succeeded: bool) -> CommandAnswer:
    return CommandAnswer(
        success=succeeded,
        stdout=bytes(heard.stdout).decode(errors="backslashreplace"),
        stderr=bytes(heard.stderr).decode(errors="backslashreplace"),
        partial=heard.partial,
    )
