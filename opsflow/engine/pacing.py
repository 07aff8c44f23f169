"""How many SSH handshakes run at once: in this process, and with each address."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opsflow.clock import Clock

HANDSHAKES = 16
"""In this process at once. They cost processor time on both sides: more would only run into their time limits."""
PER_ADDRESS = 8
"""With one address at once, to begin with: sshd drops at random from 10 logins in progress on (MaxStartups)."""
LAPSE = 3.0
"""Seconds after which a handshake does not count any more: a host that says nothing delays no other one."""
RECOVERY = 20
"""Logins in a row without a drop after which one more at once is tried."""
LOOK = 0.25
"""Seconds between two looks of a waiting thread at what may have ended its wait."""


class Cancelled(Exception):
    """The waiting was cancelled."""


class Gate:
    """Lets in a limited number at once; the others wait in the order in which they came."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._inside: dict[threading.Event, float] = {}
        self._queue: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._queue)

    @contextmanager
    def place(self, cancel: threading.Event) -> Iterator[None]:
        """Wait for a place and hold it.

        Raises:
            Cancelled: ``cancel`` was set while waiting.
        """
        mine = threading.Event()
        try:
            self._enter(mine, cancel)
            yield
        finally:
            self._leave(mine)

    def _enter(self, mine: threading.Event, cancel: threading.Event) -> None:
        with self._lock:
            self._queue.append(mine)
            self._admit()
        while not mine.wait(LOOK):
            if cancel.is_set():
                raise Cancelled
            with self._lock:
                self._admit()

    def _leave(self, mine: threading.Event) -> None:
        with self._lock:
            if self._inside.pop(mine, None) is None:
                self._queue.remove(mine)
            self._admit()

    def _admit(self) -> None:
        """Let in those in front, as far as there is room."""
        if not self._queue:
            return
        now = self._clock.monotonic()
        taken = sum(1 for since in self._inside.values() if now - since < LAPSE)
        while self._queue and taken < self.limit:
            entering = self._queue.popleft()
            self._inside[entering] = now
            taken += 1
            entering.set()


class Address:
    """One address: its gate becomes narrower when the server there drops connections, and slowly wider again."""

    def __init__(self, clock: Clock) -> None:
        self.gate = Gate(PER_ADDRESS, clock)
        self.users = 0
        self._lock = threading.Lock()
        self._reductions = 0
        self._good = 0

    @property
    def generation(self) -> int:
        """How often the gate became narrower; an attempt remembers it from before it began."""
        return self._reductions

    def dropped(self, generation: int) -> None:
        """The server dropped an attempt; several that were made together narrow the gate once."""
        with self._lock:
            self._good = 0
            if generation == self._reductions:
                self._reductions += 1
                self.gate.limit = max(1, self.gate.limit // 2)

    def logged_in(self) -> None:
        """An attempt succeeded."""
        with self._lock:
            self._good += 1
            if self._good >= RECOVERY and self.gate.limit < PER_ADDRESS:
                self._good = 0
                self.gate.limit += 1


class Pace:
    """The gates of one process. Addresses that answer without drops are forgotten when nobody uses them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._addresses: dict[str, Address] = {}
        self.handshakes = Gate(HANDSHAKES, clock)

    @contextmanager
    def address(self, name: str) -> Iterator[Address]:
        """The state of an address while it is used."""
        with self._lock:
            address = self._addresses.setdefault(name, Address(self._clock))
            address.users += 1
        try:
            yield address
        finally:
            with self._lock:
                address.users -= 1
                if not address.users and address.gate.limit >= PER_ADDRESS:
                    self._addresses.pop(name, None)


class Turn:
    """One attempt's way through the gates; knows how long it waited there."""

    def __init__(self, pace: Pace, clock: Clock, cancel: threading.Event) -> None:
        self._pace = pace
        self._clock = clock
        self._cancel = cancel
        self.waited = 0.0

    def at(self, address: Address) -> AbstractContextManager[None]:
        """A place among the logins at an address.

        Raises:
            Cancelled: it was cancelled while it waited.
        """
        return self._through(address.gate)

    def handshake(self) -> AbstractContextManager[None]:
        """A place among the handshakes of this process; raises as :meth:`at`."""
        return self._through(self._pace.handshakes)

    @contextmanager
    def _through(self, gate: Gate) -> Iterator[None]:
        began = self._clock.monotonic()
        with gate.place(self._cancel):
            self.waited += self._clock.monotonic() - began
            yield
