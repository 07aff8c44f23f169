"""A proxy between the engine and a host, which can lose the connection in every way that a network can."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Relay:
    """Passes connections on until it is told not to."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._kept: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self.count = 0
        """Connections that were made."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target, 5)
            except OSError:
                return
            self._pairs.append((near, far))
            self.count += 1
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def reset(self) -> None:
        """Both ends see a reset."""
        for pair in self._take():
            for end in pair:
                _reset(end)

    def abandon(self) -> None:
        """Our end sees a reset; for the host the connection stands, but nobody reads from it."""
        for near, far in self._take():
            self._kept.append(far)
            _reset(near)

    def freeze(self) -> None:
        """Nothing passes."""
        self._flows.clear()

    def thaw(self) -> None:
        """Everything passes again."""
        self._flows.set()

    def close(self) -> None:
        """Reset everything and refuse new connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _take(self) -> list[tuple[socket.socket, socket.socket]]:
        pairs, self._pairs = self._pairs, []
        return pairs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener.fileno() >= 0:
            self.close()
        for end in self._kept:
            _reset(end)


def _reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    end.close()
