"""Locks between processes and threads: one file each, held by an open descriptor, gone with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from opsflow.clock import Clock
from opsflow.errors import ProviderError

PATIENCE = 120.0
"""Seconds; much longer than starting or deleting a sandbox takes."""


@contextlib.contextmanager
def locked(path: Path, clock: Clock) -> Iterator[int]:
    """Hold the lock ``path``; gives its descriptor, which a child process may inherit to keep the lock.

    Raises:
        ProviderError: somebody else keeps it for too long.
    """
    deadline = clock.monotonic() + PATIENCE
    while (descriptor := _try(path)) is None:
        if clock.monotonic() > deadline:
            raise ProviderError(f"another process holds {path} for more than {PATIENCE:.0f} s; is it stuck?")
        clock.sleep(0.01)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The file may have been removed by its last holder between open and flock; then the lock means nothing.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
