"""The agent's side: serves one engine to every opsflow of this user that asks, until nobody does for a while."""

from __future__ import annotations

import gc
import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from opsflow.clock import Clock
from opsflow.engine.agent import codec, wire
from opsflow.engine.agent.address import is_ours
from opsflow.engine.agent.calls import CALLS, Call
from opsflow.errors import OpsflowError
from opsflow.ports import Engine

TICK = 5.0
"""Seconds between two looks at what has expired."""
COLLECT = (50_000, 10, 10)
"""Objects made until garbage is looked for, and how often among the older ones."""
AT_ONCE = 1024
"""Calls that are carried out at once; callers have their own, lower limits."""


class Household(Protocol):
    """The connections that the agent keeps (connections.Connections)."""

    def expire(self) -> None:
        """End those that nobody used for long."""
        ...

    def count(self) -> Any:
        """How many are ``idle`` and how many ``lent``."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What an agent offers; made when it is first needed, after its socket is there."""

    engine: Engine
    connections: Household | None = None
    remember: Callable[[], None] = lambda: None
    """Writes down what the engine has learned: an agent that is killed later has not learned it for nothing."""


class Agent:
    """Accepts clients until it is told to stop, or was idle for ``idle`` seconds."""

    def __init__(
        self,
        listener: socket.socket,
        name: str,
        make: Callable[[], Services],
        clock: Clock,
        idle: float,
        prepared: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._listener = listener
        self._name = name
        self._make = make
        self._clock = clock
        self._idle = idle
        self._prepared = prepared
        self._lock = threading.Lock()
        self._services: Services | None = None
        self._clients: set[Client] = set()
        self._since = clock.monotonic()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="call")

    def stop(self) -> None:
        """End :meth:`serve`; safe in a signal handler."""
        with suppress(BlockingIOError):
            os.write(self._wake, b"s")

    def serve(self) -> None:
        """Accept clients; returns when it was told to, or nobody came for long."""
        self.threads.submit(self._warm_up)
        while True:
            watched: list[socket.socket | int] = [self._listener, self._woken]
            ready, _, _ = select.select(watched, [], [], min(TICK, max(self._left(), 0.01)))
            if self._woken in ready:
                return
            if self._listener in ready:
                self._accept()
            elif self._left() <= 0:
                return
            elif self._services is not None and self._services.connections is not None:
                self._services.connections.expire()

    def close(self) -> None:
        """Cancel what is under way, let its clients know how it ended, and end the engine."""
        for client in tuple(self._clients):
            client.cancel()
        self.threads.shutdown()
        for client in tuple(self._clients):
            client.close()
        if self._services is not None:
            self._services.engine.close()

    # ------------------------------------------------------------------ for clients

    def services(self) -> Services:
        """The engine; the first who asks makes it."""
        with self._lock:
            if self._services is None:
                self._services = self._make()
            return self._services

    def left(self, client: Client) -> None:
        """A client went away."""
        with self._lock:
            self._clients.discard(client)
            if client.used:  # one that only looked does not keep it alive
                self._since = self._clock.monotonic()
        if client.used and self._services is not None:
            with suppress(RuntimeError):  # it is closing, and that writes it down too
                self.threads.submit(self._services.remember)

    def status(self, asking: Client) -> dict[str, Any]:
        """What ``opsflow agent status`` shows."""
        others = [client for client in tuple(self._clients) if client is not asking]
        calls = sum(client.calls for client in others)
        services = self._services
        count = services.connections.count() if services is not None and services.connections is not None else None
        return {
            "pid": os.getpid(),
            "prepared_pid": self._prepared(),
            "name": self._name,
            "idle_seconds": 0.0 if others else round(self._clock.monotonic() - self._since, 1),
            "ends_after": self._idle,
            "clients": len(others),
            "calls": calls,
            "connections": {"idle": count.idle if count else 0, "used": count.lent if count else 0},
        }

    # ------------------------------------------------------------------ own

    def _warm_up(self) -> None:
        with suppress(Exception):  # whoever asks first gets the error
            self.services()
        # What is loaded stays to the end: looking through all of it again and again costs as much as a run.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)

    def _left(self) -> float:
        """Seconds until the idle time is over."""
        with self._lock:
            return self._idle if self._clients else self._since + self._idle - self._clock.monotonic()

    def _accept(self) -> None:
        with suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(True)
            if not is_ours(sock):
                sock.close()
                return
            client = Client(self, sock)
            with self._lock:
                self._clients.add(client)
            threading.Thread(target=client.serve, name="client", daemon=True).start()


class Client:
    """One opsflow that uses the agent. When it goes away, what it asked for is cancelled."""

    def __init__(self, agent: Agent, sock: socket.socket) -> None:
        self._agent = agent
        self._sock = sock
        self._outbox = wire.Outbox(sock)
        self._lock = threading.Lock()
        self._cancels: dict[int, threading.Event] = {}
        self._members: dict[str, codec.Members] = {}
        self._newest = 0
        self.used = False

    @property
    def calls(self) -> int:
        """How many of its calls are under way."""
        return len(self._cancels)

    def serve(self) -> None:
        """Read what it asks for until it goes away."""
        try:
            while True:
                for message in wire.receive(self._sock):
                    self._take(message)
        except wire.Gone:
            pass
        finally:
            self.cancel()
            self._agent.left(self)
            self.close()

    def cancel(self) -> None:
        """Cancel everything that it asked for."""
        with self._lock:
            for cancel in self._cancels.values():
                cancel.set()

    def close(self) -> None:
        """Send what is left, then hang up."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)
        self._outbox.close()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _take(self, message: wire.Message) -> None:
        match message:
            case ["hello"]:
                self._say(wire.text("hello", self._agent.status(self)))
            case ["status"]:
                self._say(wire.text("status", self._agent.status(self)))
            case ["stop"]:
                self._agent.stop()
            case ["members", digest, members]:
                self._members[digest] = codec.members_from(members)
            case ["cancel", number]:
                with self._lock:
                    if number > self._newest:  # of a call that comes right after
                        self._cancels[number] = threading.Event()
                    if number in self._cancels:
                        self._cancels[number].set()
            case [kind, number, *arguments] if kind in CALLS:
                with self._lock:
                    cancel = self._cancels.setdefault(number, threading.Event())
                    self._newest = max(number, self._newest)
                    self.used = True
                with suppress(RuntimeError):  # it is closing, and so is this connection
                    self._agent.threads.submit(self._call, kind, number, arguments, cancel)
            case _:
                raise wire.Gone  # not one of ours

    def _call(self, kind: str, number: int, arguments: list[Any], cancel: threading.Event) -> None:
        try:
            tell = partial(self._tell, number)
            answer = CALLS[kind](Call(self._agent.services().engine, self._members, tell, cancel), *arguments)
            message = f'["done",{number},{answer}]'
        except OpsflowError as error:
            message = f'["error",{number},{codec.error_text(error)}]'
        except BaseException as error:  # noqa: BLE001 - the client shows it; other calls go on
            message = wire.text("defect", number, f"{type(error).__name__}: {error}")
        with self._lock:
            del self._cancels[number]
        self._say(message)

    def _say(self, message: str) -> None:
        self._outbox.put(message, urgent=True)

    def _tell(self, number: int, event: str) -> None:
        self._outbox.put(f'["event",{number},{event}]', urgent=False)
