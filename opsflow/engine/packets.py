"""What paramiko does for each packet, with fewer system calls and threads: a busy host sends a hundred in a second."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from opsflow.absent import absent
from opsflow.clock import SystemClock

with absent("invoke"):
    from paramiko.packet import Packetizer

CLOCK = SystemClock()
AHEAD = 1 << 16
"""Bytes taken from a socket at once."""


class ReadAhead(socket.socket):
    """A socket that takes whatever has arrived: paramiko asks for the head and the rest of each packet by itself.

    Only one thread may receive.
    """

    _data = b""
    _used = 0
    heard = 0.0
    """When something arrived last, in monotonic seconds."""
    asked = 0.0
    """When the oldest question was asked that nothing has arrived after."""

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Takes over a socket, which is not to be used any more."""
        timeout = sock.gettimeout()
        taken = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        taken.settimeout(timeout)
        return taken

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """At most ``size`` bytes of what was taken before, or else of what has arrived."""
        if self._used == len(self._data):
            self._data, self._used = super().recv(max(size, AHEAD), flags), 0
            self.heard = CLOCK.monotonic()
        start = self._used
        self._used = min(start + size, len(self._data))
        return self._data[start : self._used]


class Packets(Packetizer):
    """Packets whose handshake is limited by a look at the time, not by one more thread that is stopped again and again.

    paramiko says after each packet that the handshake is complete.
    """

    _handshake_ends: float | None = None

    def start_handshake(self, timeout: float) -> None:
        """The handshake may take that many seconds from now on."""
        self._handshake_ends = CLOCK.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Whether it takes longer."""
        return self._handshake_ends is not None and CLOCK.monotonic() > self._handshake_ends

    def complete_handshake(self) -> None:
        """It is over."""
        self._handshake_ends = None


class Bell(threading.Event):
    """An event for one waiter, which clears it by waking up: a single lock, because it is set for each packet."""

    def __init__(self) -> None:
        super().__init__()
        self._silence = threading.Lock()
        self._silence.acquire()

    def is_set(self) -> bool:
        """Whether the waiter would not have to wait."""
        return not self._silence.locked()

    def set(self) -> None:
        """Wake the waiter up, now or when it begins to wait."""
        with suppress(RuntimeError):  # it is set already
            self._silence.release()

    def clear(self) -> None:
        """Nothing to wake up for any more."""
        self._silence.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most that many seconds, and clear it; whether it was."""
        return self._silence.acquire(timeout=-1 if timeout is None else timeout)
