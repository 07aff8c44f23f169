"""Runs a command and says what it cost the controller."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import processes

SECONDS = 900
"""No run may take longer."""


@dataclass(frozen=True)
class Command:
    """What to start, where, and with what in its environment."""

    arguments: list[str]
    directory: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of the controller: everything that the command started, its daemons included."""

    wall: float
    cpu: float
    daemons: float
    """That part of ``cpu`` which processes used that were there before: agents and open connections."""
    memory: float | None = None
    """Peak in MiB, of the same processes."""


class Failed(Exception):
    """A peer's run did not succeed; the text is the end of what it printed."""


@dataclass
class Meter:
    """Measures commands; ``bystanders`` are processes of the benchmark and of other peers: the command is not charged
    for them, nor for what they start."""

    log: Path
    bystanders: set[int]

    def run(self, command: Command, *, memory: bool = False, tidy: bool = True) -> Cost:
        """Run it to its end; with ``tidy``, end what it leaves running."""
        before, used = self._descendants(), children()
        sampler = Sampler(self._descendants) if memory else None
        try:
            code, wall = self._time(command)
        finally:
            peak = sampler.stop() if sampler else None
            after = self._descendants()
            left = {pid: process for pid, process in after.items() if pid not in before}
            daemons = sum(after[pid].cpu - old.cpu for pid, old in before.items() if pid in after)
            cpu = children() - used + daemons + sum(process.cpu for process in left.values())
            if tidy:
                processes.end(left)
        if code:
            raise Failed(f"exit code {code}: {self._end_of_log()}")
        return Cost(wall, cpu, daemons, peak)

    def _time(self, command: Command) -> tuple[int, float]:
        with self.log.open("wb") as log:
            started = time.perf_counter()
            process = subprocess.Popen(
                command.arguments, cwd=command.directory, env=command.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                return process.wait(SECONDS), time.perf_counter() - started
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Failed(f"took longer than {SECONDS} seconds") from None

    def _descendants(self) -> dict[int, processes.Process]:
        return processes.descendants(self.bystanders)

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="backslashreplace").strip()[-1500:]


def children() -> float:
    """CPU seconds of the children that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Sampler:
    """Looks at the memory of processes again and again. It takes a fifth of a core at most."""

    def __init__(self, found: Callable[[], Mapping[int, processes.Process]]) -> None:
        self._found = found
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            started = time.perf_counter()
            self._peak = max(self._peak, processes.memory(self._found()))
            pause = max(0.02, 4 * (time.perf_counter() - started))

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak
