"""Frames between opsflow and its agent: a length of 4 bytes and a JSON array of messages; each is an array itself.

To the agent: ``hello``, ``members``, ``run``, ``check``, ``ready``, ``exec``, ``facts``, ``cancel``, ``status``,
``stop``. From it: ``hello``, ``events`` of a call, then its ``done`` or ``error``. A call is known by its number.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

LINGER = 0.02
"""Seconds that an event may wait for others to travel with; a result takes all of them along at once."""
FULL = 8 * 1024**2
"""Characters on their way to somebody who does not read; whoever has more to say waits."""
LARGEST = 1024**3
CHUNK = 1024**2

Message = list[Any]


class Gone(Exception):
    """The other side has ended the connection."""


def send(sock: socket.socket, messages: Sequence[str]) -> None:
    """Send messages that are JSON text already, in one frame.

    Raises:
        Gone: the other side does not listen any more.
    """
    data = f"[{','.join(messages)}]".encode()
    try:
        sock.sendall(struct.pack(">I", len(data)) + data)
    except OSError:
        raise Gone from None


def receive(sock: socket.socket) -> list[Message]:
    """The messages of the next frame.

    Raises:
        Gone: there is none, or it is no frame.
    """
    (size,) = struct.unpack(">I", _exactly(sock, 4))
    if size > LARGEST:
        raise Gone
    try:
        messages: list[Message] = json.loads(_exactly(sock, size))
    except ValueError:
        raise Gone from None
    return messages


def _exactly(sock: socket.socket, size: int) -> bytearray:
    data = bytearray()  # grows with what comes: a length alone costs nothing
    while len(data) < size:
        try:
            chunk = sock.recv(min(size - len(data), CHUNK))
        except OSError:
            raise Gone from None
        if not chunk:
            raise Gone
        data += chunk
    return data


def text(*values: object) -> str:
    """A message as JSON text."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


class Outbox:
    """Sends messages in the background; those that come close together share a frame."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._news = threading.Condition()
        self._messages: list[str] = []
        self._size = 0
        self._urgent = False
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: str, *, urgent: bool) -> None:
        """Have a message sent; waits while too much is on its way. What nobody hears any more is dropped."""
        with self._news:
            self._news.wait_for(lambda: self._size < FULL or self._closed)
            if self._closed:
                return
            self._messages.append(message)
            self._size += len(message)
            first = len(self._messages) == 1
            if first or (urgent and not self._urgent):
                self._urgent = self._urgent or urgent
                self._news.notify_all()

    def close(self) -> None:
        """Send what is left; returns when that is done or nobody listens."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _deliver(self) -> None:
        with suppress(Gone):
            while messages := self._next():
                send(self._sock, messages)
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _next(self) -> list[str]:
        with self._news:
            self._news.wait_for(lambda: self._messages or self._closed)
            self._news.wait_for(lambda: self._urgent or self._closed, timeout=LINGER)
            messages, self._messages = self._messages, []
            self._size, self._urgent = 0, False
            self._news.notify_all()
            return messages
