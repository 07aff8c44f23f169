"""Where a run waits for something that no script can do: another attempt, a reboot, a file that comes here."""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from opsflow.clock import Clock
from opsflow.engine.exchange import Limits
from opsflow.engine.messages import Barrier, CommandAnswer, FactAnswer, PlannedOperation
from opsflow.engine.session import ConnectError, LinkLost, Why
from opsflow.engine.shell import HostBusy, NoShell, Shell

BOOT = "cat /proc/sys/kernel/random/boot_id; read -r l </proc/1/stat && set -- ${l##*) } && echo ${20}"
"""Another text after each boot, also of a container, whose kernel stays."""

Read = Callable[[Shell, str], FactAnswer | None]
Say = Callable[[PlannedOperation, str], None]


class TooLate(Exception):
    """The run ends before the next attempt; the message says why."""


class Attempts:
    """Waits between the attempts at an operation, as long as the recipe says and the user has the patience."""

    def __init__(self, clock: Clock, limits: Limits, say: Say) -> None:
        self._clock = clock
        self._limits = limits
        self._say = say
        self._last: dict[int, int] = {}

    def follow(self, operation: PlannedOperation) -> bool:
        """Wait before an attempt that is not the first one; whether there was anything to wait for.

        Raises:
            TooLate: the run was cancelled or took too long.
        """
        since = operation.attempt - self._last.get(operation.index, 0)
        if since <= 0:
            return False
        self._last[operation.index] = operation.attempt
        retry = f"retry {operation.attempt} of {operation.retries} in {operation.retry_delay:g} s\n"
        self._say(operation, retry)
        pause(operation.retry_delay * since, self._clock, self._limits)
        return True


class Barriers:
    """Passes what is between two scripts of a run."""

    def __init__(self, clock: Clock, limits: Limits, read: Read, reopen: Callable[[], Shell]) -> None:
        self._clock = clock
        self._limits = limits
        self._read = read
        self._reopen = reopen
        self._boot = ""

    def meet(self, barrier: Barrier, shell: Shell) -> tuple[CommandAnswer, Shell]:
        """Do what it asks for: how it ended, and the shell to go on with.

        Raises:
            TooLate: the run was cancelled or took too long.
            LinkLost: the connection is gone.
        """
        if barrier.answer is not None:
            return barrier.answer, shell
        if barrier.what == "download":
            return self._download(barrier, shell), shell
        if barrier.what == "boot":
            self._boot = self._mark(shell)
            return CommandAnswer(success=True), shell
        return self._reconnect(barrier, shell)

    # ------------------------------------------------------------------ reboots

    def _mark(self, shell: Shell) -> str:
        answer = self._read(shell, BOOT)
        return answer.stdout if answer is not None else ""

    def _reconnect(self, barrier: Barrier, shell: Shell) -> tuple[CommandAnswer, Shell]:
        pause(barrier.delay, self._clock, self._limits)
        with suppress(LinkLost, OSError):
            shell.close()
        end = self._clock.monotonic() + (barrier.timeout or 0.0)
        why = "it was not tried"
        while True:
            try:
                new = self._reopen()
                if self._mark(new) != self._boot:
                    return CommandAnswer(success=True), new
                new.close()
                why = "it can be reached, but it has not been booted again"
            except ConnectError as error:
                if error.why is Why.HOST_KEY:
                    raise
                why = str(error)
            except (LinkLost, NoShell, HostBusy) as error:
                why = str(error)
            if self._clock.monotonic() >= end:
                text = f"the host did not come back from its reboot within {barrier.timeout:g} s: {why}\n"
                return CommandAnswer(success=False, stderr=text), shell
            pause(barrier.interval, self._clock, self._limits)

    # ------------------------------------------------------------------ downloads

    def _download(self, barrier: Barrier, shell: Shell) -> CommandAnswer:
        answer = self._read(shell, barrier.read)
        if answer is None or answer.exit_code != 0:
            return CommandAnswer(success=False, stderr=answer.stderr if answer else "the host gave no answer\n")
        try:
            write(Path(barrier.dest), base64.b64decode(answer.stdout))
        except (OSError, binascii.Error) as error:
            return CommandAnswer(success=False, stderr=f"cannot write {barrier.dest} here: {error}\n")
        return CommandAnswer(success=True)


def write(path: Path, content: bytes) -> None:
    """Write a file at once or not at all; one that exists keeps its mode, and a link leads to what is written.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask()
    descriptor, name = tempfile.mkstemp(prefix=".opsflow.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)  # noqa: PTH105 - both are names
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise


def _umask() -> int:
    """This process's umask, without changing it for other threads."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Umask:")), 8)


def pause(seconds: float, clock: Clock, limits: Limits) -> None:
    """Wait, but not longer than the run may take.

    Raises:
        TooLate: the run was cancelled or took too long.
    """
    left = limits.deadline - clock.monotonic()
    if limits.cancel.wait(max(0.0, min(seconds, left))):
        raise TooLate("cancelled")
    if seconds > left:
        raise TooLate("the run took too long")


def goes_on(operation: PlannedOperation) -> bool:
    """Whether a failed command of the operation is not its end."""
    return operation.continues or operation.attempt < operation.retries


def tried_in_vain(operation: PlannedOperation) -> bool:
    """Whether all its steps ran and one of them, or one before them, was a failure for good."""
    return operation.failed and operation.attempt >= operation.retries
