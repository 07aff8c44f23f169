"""The operating system's lock beside the database: the kernel gives it back when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

MARK_BYTES = 20


class LockFile:
    """A lock that one holder has, and the number of the last journal entry that was acknowledged.

    The number tells when the database has lost what it once had: its write-ahead log was deleted, or an old copy was
    put in its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Take the lock if nobody has it."""
        # Descriptors made here are close-on-exec (PEP 446), so machines that outlive us do not keep the lock.
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        if not self._still_there(fd):
            os.close(fd)
            return False
        self._fd = fd
        _held.add(self)
        return True

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        self.forget()

    def forget(self) -> None:
        """Close the descriptor: gives the lock back, unless a process that was forked from holds it too."""
        fd, self._fd = self._fd, None
        _held.discard(self)
        if fd is not None:
            os.close(fd)

    def mark(self) -> int:
        """The last journal entry that was acknowledged; 0 when unknown."""
        try:
            text = self.path.read_bytes()[:MARK_BYTES]
        except OSError:
            return 0
        return int(text) if text.isdigit() else 0

    def set_mark(self, entry: int) -> None:
        """Remember the last acknowledged entry.

        The entry is durable already. When this fails, a loss may stay unnoticed later; nothing else depends on it.
        """
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, b"%0*d" % (MARK_BYTES, entry), 0)


_held: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked process shares the lock and would keep it after our death; closing its copy does not give ours back.
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)
