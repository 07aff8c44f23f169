"""Processes that outlive the one that started them, named so that a recycled pid is never mistaken for them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from opsflow.errors import ProviderError


class Process(BaseModel):
    """A process by pid, start time and boot of the machine."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int
    boot: str

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The process of a record file; None when there is no usable record."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return self.boot == _boot() and _start_time(self.pid) == self.started

    def end(self, *, grace: float) -> None:
        """Ask it to end, insist after ``grace`` seconds, and return when it is gone.

        Raises:
            ProviderError: it does not end.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Checked after the pidfd is open: from here on the descriptor cannot mean another process.
            if not self.alive:
                return
            if grace and _signal(descriptor, signal.SIGTERM) and _wait(descriptor, grace):
                return
            if _signal(descriptor, signal.SIGKILL) and not _wait(descriptor, 10):
                raise ProviderError(
                    f"process {self.pid} of a sandbox does not end although it was killed",
                    hint="It probably waits for a disk or a network file system; try again later.",
                )
        finally:
            os.close(descriptor)


def _signal(descriptor: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
    return True


def _wait(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _start_time(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
