"""How a run goes on: after its connection was lost, and after the controller that began it has died.

What a command did is read back from the run record of the host. A command that has ended is not run again; one that
still runs is waited for, and its exit code decides. Nothing of it is believed longer than it fits: from the first
command that the recipes would not run in this place any more, everything is planned anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opsflow.clock import Clock
from opsflow.engine.exchange import Exchange, Heard, Limits
from opsflow.engine.messages import FactStep, PlannedOperation
from opsflow.engine.record import Begun, Record, identity_of, name_of, rest_of
from opsflow.engine.script import Program
from opsflow.engine.session import ConnectError, LinkLost, ShellEnded, Why
from opsflow.engine.shell import Interrupted, NoShell, Shell
from opsflow.ports import HostJob, HostObserver, Mode, PhaseChanged

TIMES = 5
"""How often one run connects again."""
WAIT = 5
"""Seconds that one question to the host waits for a command."""
UNKNOWN = "the connection was lost while it ran, and its outcome is not known"
BROKEN = "the connection was lost while it ran; how it ended was read back from the host"

Limit = Callable[[int], float]


class GaveUp(LinkLost):
    """The connection is gone, and there will be no other one."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What an earlier run has done of these operations, as if it had been heard just now."""

    batch: Sequence[PlannedOperation]
    program: Program
    exchange: Exchange


class Lifeline:
    """The shells of one run, one after the other, and the record that they write."""

    def __init__(
        self,
        job: HostJob,
        *,
        open_shell: Callable[[], Shell],
        clock: Clock,
        limits: Limits,
        observe: HostObserver,
        count: Callable[[Shell], None],
    ) -> None:
        self._job = job
        self._open_shell = open_shell
        self._clock = clock
        self._limits = limits
        self._observe = observe
        self._count = count
        self._owner = f"{job.store}:{job.node.stack}/{job.node.name}"
        self._origin = job.resumes[-1] if job.resumes else job.command
        self._moment = job.node.event.sent_at
        self._name = name_of(self._owner, self._origin)
        self._times = 0
        self._killed = ""

    def begin(self, shell: Shell) -> Record | None:
        """Take the host's lock; the record of an earlier controller's run, when this run resumes it.

        Raises:
            HostBusy: somebody else holds it.
            NoShell: no directory of the host takes the lock.
            Interrupted: cancelled, or the run took too long.
            LinkLost: the connection is gone.
        """
        record = self._attend(shell, lambda command: command.limit) if self._job.resumes else None
        if record is not None:
            self._moment = record.moment or self._moment
        self._lock(shell)
        return record

    def again(self, shell: Shell, lost: LinkLost) -> Shell:
        """Connect again after nothing was lost but the connection.

        Raises:
            LinkLost: it cannot be.
        """
        while True:
            shell = self._reconnect(shell, lost)
            try:
                if self._job.mode is Mode.RUN:
                    self._attend(shell, lambda command: command.limit)
                    self._lock(shell)
            except LinkLost as error:
                lost = error
            else:
                return shell

    def reattach(
        self, shell: Shell, exchange: Exchange, *, batch: Sequence[PlannedOperation], program: Program, limit: Limit
    ) -> Shell:
        """Connect again and complete what is known of a script in the middle of which the connection was lost.

        When that cannot be, the exchange says so.
        """
        new, pid, before = shell, shell.pid, shell.begun
        while exchange.lost is not None:
            try:
                new = self._reconnect(new, exchange.lost)
                record = self._attend(new, lambda command: limit(command.number))
                if record is not None and record.shell == pid:
                    self._complete(new, record, exchange, before)
                self._lock(new)
            except GaveUp as lost:
                exchange.lost = lost
                return new
            except LinkLost as lost:
                exchange.lost = lost
            except Interrupted as why:
                exchange.lost, exchange.stopped = None, str(why)
                return new
            else:
                exchange.lost = None
        _stop_at_next_fact(exchange, batch, program)
        return new

    # ------------------------------------------------------------------ connections

    def _reconnect(self, shell: Shell, lost: LinkLost) -> Shell:
        """A new shell within the time that connecting may take."""
        if isinstance(lost, ShellEnded):
            raise lost
        if self._times >= TIMES:
            raise GaveUp(f"{lost}, for the {TIMES + 1}th time in this run")
        self._times += 1
        self._observe(PhaseChanged(self._job.node.name, "reconnecting"))
        self._count(shell)
        shell.close()
        end = self._clock.monotonic() + self._job.timeouts.connect
        while True:
            try:
                return self._open_shell()
            except (ConnectError, LinkLost, NoShell) as error:
                hopeless = isinstance(error, ConnectError) and error.why is not Why.UNREACHABLE
                if hopeless or self._clock.monotonic() >= end:
                    raise GaveUp(f"{lost}, and it could not be made again: {error}") from None
            if self._limits.cancel.wait(random.uniform(0.2, 1.0)):  # noqa: S311 - jitter, not a secret
                raise Interrupted("cancelled")

    def _lock(self, shell: Shell) -> None:
        job = self._job
        about = f"{job.run or '-'} {self._origin or '-'} {self._moment or '-'}"
        shell.lock(self._owner, job.epoch, job.run or "-", record=self._name, about=about)

    # ------------------------------------------------------------------ the record

    def _attend(self, shell: Shell, limit: Callable[[Begun], float]) -> Record | None:
        """The record, when the shell that wrote it has ended; its command gets the time that it would have had."""
        limits = Limits(lambda _: 60.0, self._limits.deadline, self._limits.cancel)
        record = shell.attend(self._name, 0, limits)
        while record is not None and record.running:
            self._observe(PhaseChanged(self._job.node.name, "waiting"))
            record = self._wait(shell, record, limit(record.commands[-1]), limits)
        return record

    def _wait(self, shell: Shell, record: Record, allowed: float, limits: Limits) -> Record | None:
        """Wait a while for the command that runs; end it when its time is over."""
        allowed = allowed or self._job.timeouts.command
        left = record.commands[-1].uptime + allowed - record.uptime
        if left <= 0:
            self._killed = f"timed out after {allowed:g} s" + _ended(shell.end(record.shell))
        try:
            return shell.attend(self._name, max(1, min(WAIT, int(left) + 1)), limits)
        except Interrupted as why:
            how = str(why).partition(";")[0]
            raise Interrupted(f"{how}{_ended(shell.end(record.shell))}") from None

    def _complete(self, shell: Shell, record: Record, exchange: Exchange, before: int) -> None:
        """What the lost shell did since the last exchange that came to its end."""
        last = len(record.shells) - 1
        mine = [command for command in record.commands if command.shell == last][before:]
        now = self._clock.monotonic()
        for command in mine:
            heard = exchange.commands.setdefault(command.number, Heard(now))
            if heard.ended is None:
                self._hear(heard, command, now)
                self._listen(shell, heard, command.number, record.shell)

    def _hear(self, heard: Heard, command: Begun, now: float) -> None:
        heard.ended = now
        heard.exited = heard.exited or now
        heard.partial = True
        heard.exit_code = command.code if heard.exit_code is None else heard.exit_code
        heard.killed = self._killed or UNKNOWN if heard.exit_code is None else ""
        heard.note = BROKEN

    def _listen(self, shell: Shell, heard: Heard, number: int, pid: int) -> None:
        """The end of its output, which its shell has kept."""
        limits = Limits(lambda _: 60.0, self._limits.deadline, self._limits.cancel)
        for stream in ("stdout", "stderr"):
            text = rest_of(shell.rest(pid, stream[3], limits), number)
            heard.add(stream, text.encode(errors="backslashreplace"))


class Earlier:
    """What a run of a controller that has died has done: believed as long as it fits to what the recipes want."""

    def __init__(self, record: Record | None, clock: Clock) -> None:
        self._record = record or Record()
        self._clock = clock
        self._taken: dict[int, int] = {}
        self.last = self._record.last
        """The last operation that the record still says something about; -1 when it says nothing any more."""
        self.changed = self._record.changed
        """Operations that have changed something, even if there is nothing left to do for them."""
        self.origin = self._record.origin
        self.moment = self._record.moment
        self.notes: dict[int, str] = {}
        """Operation -> what was decided about it, for the user."""

    def settle(self, operations: Sequence[PlannedOperation]) -> Settled | None:
        """What has already been done of the next operations; None when nothing is.

        Whatever is planned must be planned again when :attr:`changed` is another one afterwards.
        """
        batch = [operation for operation in operations if operation.index <= self.last]
        commands: dict[int, tuple[int, int]] = {}
        heard: dict[int, Heard] = {}
        whole = 0
        for position, operation in enumerate(batch):
            matched = self._match(operation)
            for index, begun in matched:
                commands[len(commands)] = (position, index)
                heard[len(heard)] = self._heard(begun)
            if len(matched) < len(_writes(operation)):
                break
            whole = position + 1
        if not whole and not commands:
            return None
        exchange, program = Exchange(commands=heard), Program("", {}, commands)
        _stop_at_next_fact(exchange, batch, program, after=(whole, -1))
        return Settled(batch, program, exchange)

    def _match(self, operation: PlannedOperation) -> list[tuple[int, Begun]]:
        """(step, command) for the next commands of the operation that have ended and are what it wants."""
        index, taken = operation.index, self._taken.get(operation.index, 0)
        recorded = self._record.of(index)[taken:]
        writes = _writes(operation)
        matched: list[tuple[int, Begun]] = []
        for step, begun in zip(writes, recorded, strict=False):
            why = _difference(operation, step, begun)
            if why:
                self._void(operation, why, partly=taken + len(matched) > 0)
                return matched
            matched.append((step, begun))
            self._taken[index] = taken + len(matched)
        if recorded:
            self._note(operation, recorded[-1], bool(writes))
        if len(writes) > len(recorded) and index < self.last:
            self._void(operation, "it has more to do than it had: planned anew", partly=taken + len(matched) > 0)
        return matched

    def _note(self, operation: PlannedOperation, last: Begun, wanted: bool) -> None:
        how = "done" if wanted or last.code is not None else "begun, and is complete now,"
        self.notes.setdefault(operation.index, f"{how} in run {last.run}, whose controller died; not run again")

    def _void(self, operation: PlannedOperation, why: str, *, partly: bool) -> None:
        """Nothing later in the record counts any more."""
        self.last = operation.index - 1
        self.changed = frozenset(each for each in self.changed if each < operation.index + partly)
        self.notes[operation.index] = why

    def _heard(self, begun: Begun) -> Heard:
        now = self._clock.monotonic()
        note = f"it ended in run {begun.run}, whose controller had died"
        return Heard(now, exit_code=begun.code, exited=now, ended=now, note=note, partial=True)


def _writes(operation: PlannedOperation) -> list[int]:
    return [index for index, step in enumerate(operation.steps) if not isinstance(step, FactStep)]


def _difference(operation: PlannedOperation, index: int, begun: Begun) -> str:
    """Why a recorded command does not count as this step; empty when it does."""
    step = operation.steps[index]
    if isinstance(step, FactStep) or begun.identity != identity_of(operation, step):
        return f"it is not what run {begun.run} did here before its controller died: planned anew"
    if begun.code is None:
        return f"it was broken off in run {begun.run}, and how far it came is not known: run again"
    return ""


def _stop_at_next_fact(
    exchange: Exchange, batch: Sequence[PlannedOperation], program: Program, after: tuple[int, int] = (-1, -1)
) -> None:
    """Facts after the last command were not verified: the first of them is where the next plan begins."""
    last = max([*(program.commands[number] for number in exchange.commands), after])
    steps = [(place, index) for place, operation in enumerate(batch) for index in range(len(operation.steps))]
    exchange.until = next((step for step in steps if step > last and _is_fact(batch, step)), None)


def _is_fact(batch: Sequence[PlannedOperation], place: tuple[int, int]) -> bool:
    return isinstance(batch[place[0]].steps[place[1]], FactStep)


def _ended(gone: bool) -> str:
    return "; ended on the host" if gone else "; could NOT be ended on the host"
