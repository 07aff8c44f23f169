"""How a run goes on after its connection was lost, and where one whose controller has died is found again.

What a command did is read back from the run record of the host. One that still runs is waited for, and its exit code
decides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from opsflow.clock import Clock
from opsflow.engine.earlier import stop_at_next_fact
from opsflow.engine.exchange import Exchange, Heard, Limits
from opsflow.engine.messages import PlannedOperation
from opsflow.engine.record import Begun, Record, name_of, rest_of
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
        self._fresh = not job.resumes
        """Nothing of the record is of this run or of one that it resumes: command ids may be given out again."""
        self._shells: set[int] = set()
        """Process ids of the shells that may have written the record: those of this run, and of the ones before it."""

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
            self._shells.update(record.shells)
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
                    self._own(self._attend(shell, lambda command: command.limit))
                    self._lock(shell)
            except ShellEnded:
                raise
            except LinkLost as error:
                lost = error
            else:
                return shell

    def renew(self, shell: Shell) -> Shell:
        """Another shell on the same connection, in place of one that cannot be used any more.

        Raises:
            LinkLost: the connection is gone.
        """
        self._count(shell)
        shell.close()
        new = Shell(shell.connection, self._clock)
        if self._job.mode is Mode.RUN:
            self._lock(new)
        return new

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
                record = self._own(self._attend(new, lambda command: limit(command.number)))
                if record is not None and record.shell == pid:
                    self._complete(new, record, exchange, before)
                self._lock(new)
            except (GaveUp, ShellEnded) as lost:
                exchange.lost = lost
                return new
            except LinkLost as lost:
                exchange.lost = lost
            except Interrupted as why:
                exchange.lost, exchange.stopped = None, str(why)
                return new
            else:
                exchange.lost = None
        stop_at_next_fact(exchange, batch, program)
        return new

    # ------------------------------------------------------------------ connections

    def _reconnect(self, shell: Shell, lost: LinkLost) -> Shell:
        """A new shell within the time that connecting may take."""
        if isinstance(lost, ShellEnded | GaveUp):
            raise lost
        if self._times >= TIMES:
            raise GaveUp(f"{lost}, for the {TIMES + 1}th time in this run")
        self._times += 1
        self._shells.add(shell.pid)
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
        shell.lock(self._owner, job.epoch, job.run or "-", record=self._name, about=about, fresh=self._fresh)

    # ------------------------------------------------------------------ the record

    def _own(self, record: Record | None) -> Record | None:
        """The record, if it is of this run, and unless another controller has resumed that meanwhile."""
        if record is None or self._shells.isdisjoint(record.shells):
            return None
        self._fresh = False
        if not self._shells.issuperset(record.shells):
            raise ShellEnded("the connection was lost, and then the run was resumed by another controller")
        return record

    def _attend(self, shell: Shell, limit: Callable[[Begun], float]) -> Record | None:
        """The record, when the shell that wrote it has ended; its command gets the time that it would have had."""
        limits = Limits(lambda _: 60.0, self._limits.deadline, self._limits.cancel)
        record = shell.attend(self._name, 0, self._owner, self._job.epoch, limits)
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
            seconds = max(1, min(WAIT, int(left) + 1))
            return shell.attend(self._name, seconds, self._owner, self._job.epoch, limits)
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


def _ended(gone: bool) -> str:
    return "; ended on the host" if gone else "; could NOT be ended on the host"
