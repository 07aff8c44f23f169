"""This program's descendants, daemons included, and what they use: from /proc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat."""

    pid: int
    state: str
    parent: int
    cpu: float
    """Seconds of the process and of the children that it has waited for."""


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Processes that a peer leaves behind (agents, masters) become children of this one, so none is overlooked."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def parse(stat: str) -> Process:
    """A process as /proc/PID/stat has it; its name may hold anything."""
    pid, _, rest = stat.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Process(int(pid), fields[0], int(fields[1]), sum(map(int, fields[11:15])) / TICKS)


def descendants(besides: Iterable[int] = ()) -> dict[int, Process]:
    """All processes below this one, except ``besides`` and what is below them. Hosts are not: init is their parent."""
    everything = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                process = parse((entry / "stat").read_text(errors="replace"))
                everything[process.pid] = process
    children: dict[int, list[int]] = {}
    for process in everything.values():
        children.setdefault(process.parent, []).append(process.pid)
    left_out, found, ahead = set(besides), {}, [os.getpid()]
    while ahead:
        for pid in children.get(ahead.pop(), []):
            if pid not in left_out:
                found[pid] = everything[pid]
                ahead.append(pid)
    return found


def memory(pids: Iterable[int]) -> float:
    """MiB of these processes together; pages that several of them share are counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            total += int((PROC / str(pid) / "smaps_rollup").read_text().split("\nPss:")[1].split()[0])
    return total / 1024


def end(pids: Iterable[int], seconds: float = 5) -> None:
    """End children of this process that a peer has left behind, and wait for them."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for pid in pids:
        deadline = time.monotonic() + seconds
        while _is_there(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _is_there(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return (PROC / str(pid)).exists()
