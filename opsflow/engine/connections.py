"""The connections of one process: lent, taken back, kept for the next run, and never more than there is room for."""

from __future__ import annotations

import resource
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from opsflow.clock import Clock
from opsflow.engine.pacing import LOOK, Cancelled, Pace, Turn
from opsflow.engine.patience import Patience
from opsflow.engine.session import ConnectError, Connection, Why
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine

FILES_EACH = 6
"""File descriptors of a connection: its socket, and a pipe for each of its channels."""
FILES_OF_OTHERS = 200
"""File descriptors that the rest of the process needs."""
MOST_FILES = 8192
MOST_IDLE = 512
IDLE_SECONDS = 600.0
"""After that a connection that nobody used is closed."""
ENDING = 32
"""Connections with shells that are ended side by side."""

Key = tuple[str | None, int, str, str | None, tuple[str, ...]]
Dial = Callable[[Machine, Ssh, Timeouts, AbstractContextManager[None]], Connection]


@dataclass(frozen=True, slots=True)
class Count:
    """How many connections there are."""

    idle: int
    lent: int
    waiting: int
    """Borrowers for whom there is no room yet."""


@dataclass(slots=True)
class _Idle:
    connection: Connection
    since: float


class Connections:
    """Lends authenticated connections and keeps those that come back alive, for a while.

    Every method may be called from many threads. What the pool lends was seen to be alive; a connection's
    ``shell`` is closed before the connection itself is.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int | None = None,
        most_idle: int = MOST_IDLE,
        idle_seconds: float = IDLE_SECONDS,
        dial: Dial = Connection,
    ) -> None:
        self._clock = clock
        self._most = most or room_for_connections()
        self._most_idle = min(most_idle, self._most)
        self._idle_seconds = idle_seconds
        self._dial = dial
        self._pace = Pace(clock)
        self._lock = threading.Lock()
        self._idle: OrderedDict[Key, list[_Idle]] = OrderedDict()  # the machine that was used last is last
        self._kept = 0
        self._lent = 0  # with those that are being made
        self._queue: deque[threading.Event] = deque()
        self._closed = False

    # ------------------------------------------------------------------ lending

    @contextmanager
    def lent(self, machine: Machine, ssh: Ssh, timeouts: Timeouts, cancel: threading.Event) -> Iterator[Connection]:
        """A connection for the length of a block. Raises what :meth:`borrow` does."""
        connection = self.borrow(machine, ssh, timeouts, cancel)
        try:
            yield connection
        finally:
            self.give_back(connection)

    def borrow(self, machine: Machine, ssh: Ssh, timeouts: Timeouts, cancel: threading.Event) -> Connection:
        """A connection to the machine: one that was kept, or a new one; waits while there are too many.

        A host that does not answer is tried a few times, one that drops us as long as the login may take.

        Raises:
            ConnectError: there is none.
        """
        return self._lend(machine, ssh, cancel, lambda: self._persevere(machine, ssh, timeouts, cancel))

    def reach(self, machine: Machine, ssh: Ssh, cancel: threading.Event) -> None:
        """Try once to have a connection to the machine, and keep it.

        Raises:
            ConnectError: it cannot be had now.
        """
        turn = Turn(self._pace, self._clock, cancel)
        connection = self._lend(machine, ssh, cancel, lambda: self._attempt(machine, ssh, Timeouts(), turn))
        self.give_back(connection)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that was borrowed for whoever is next; one that is dead is ended."""
        self._return(connection, keep=connection.alive)

    def discard(self, connection: Connection) -> None:
        """End a connection that was borrowed."""
        self._return(connection, keep=False)

    def _return(self, connection: Connection, *, keep: bool) -> None:
        ending = []
        with self._lock:
            self._lent -= 1
            if keep and not self._closed:
                self._keep(connection)
            else:
                ending.append(connection)
            ending += self._spare()
            self._admit()
        _end(ending)

    def expire(self) -> None:
        """End the connections that nobody used for long, and those that died."""
        oldest = self._clock.monotonic() - self._idle_seconds
        with self._lock:
            ending = self._drop(lambda idle: idle.since < oldest or not idle.connection.healthy)
        _end(ending)

    def close(self) -> None:
        """End every connection that is kept; one that is lent ends when it comes back."""
        with self._lock:
            self._closed = True
            ending = self._drop(lambda _: True)
        _end(ending)

    def count(self) -> Count:
        """How many there are now."""
        with self._lock:
            return Count(self._kept, self._lent, len(self._queue))

    # ------------------------------------------------------------------ room

    def _lend(self, machine: Machine, ssh: Ssh, cancel: threading.Event, make: Callable[[], Connection]) -> Connection:
        self._wait_for_room(machine, cancel)
        try:
            return self._take(key_of(machine, ssh)) or make()
        except BaseException:
            with self._lock:
                self._lent -= 1
                self._admit()
            raise

    def _wait_for_room(self, machine: Machine, cancel: threading.Event) -> None:
        """Have this borrower counted as one that holds a connection, in the order in which they came."""
        turn = threading.Event()
        with self._lock:
            self._queue.append(turn)
            self._admit()
        while not turn.wait(LOOK):
            with self._lock:
                if cancel.is_set() and not turn.is_set():
                    self._queue.remove(turn)
                    raise _cancelled(machine)

    def _admit(self) -> None:
        while self._queue and self._lent < self._most:
            self._lent += 1
            self._queue.popleft().set()

    def _take(self, key: Key) -> Connection | None:
        """The healthy one of that key that came back last, if there is one; else there is room for a new one."""
        ending: list[Connection] = []
        found = None
        with self._lock:
            waiting = self._idle.pop(key, [])
            while waiting and found is None:
                connection = waiting.pop().connection
                self._kept -= 1
                if connection.healthy:
                    found = connection
                else:
                    ending.append(connection)
            if waiting:
                self._idle[key] = waiting
            ending += self._spare()
        _end(ending)
        return found

    def _keep(self, connection: Connection) -> None:
        key = key_of(connection.machine, connection.ssh)
        self._idle.setdefault(key, []).append(_Idle(connection, self._clock.monotonic()))
        self._idle.move_to_end(key)
        self._kept += 1

    def _spare(self) -> list[Connection]:
        """Take out those for which there is no room, the longest unused machine's first."""
        room = min(self._most_idle, max(0, self._most - self._lent))
        ending = []
        while self._kept > room:
            key, idle = next(iter(self._idle.items()))
            ending.append(idle.pop(0).connection)
            self._kept -= 1
            if not idle:
                del self._idle[key]
        return ending

    def _drop(self, unwanted: Callable[[_Idle], bool]) -> list[Connection]:
        ending = []
        for key, idles in list(self._idle.items()):
            leaving = [idle for idle in idles if unwanted(idle)]
            ending += [idle.connection for idle in leaving]
            idles[:] = [idle for idle in idles if idle not in leaving]
            if not idles:
                del self._idle[key]
        self._kept -= len(ending)
        return ending

    # ------------------------------------------------------------------ connecting

    def _persevere(self, machine: Machine, ssh: Ssh, timeouts: Timeouts, cancel: threading.Event) -> Connection:
        patience = Patience(timeouts)
        while True:
            turn = Turn(self._pace, self._clock, cancel)
            began = self._clock.monotonic()
            try:
                return self._attempt(machine, ssh, timeouts, turn)
            except ConnectError as error:
                # The time in our own queues is not the host's fault.
                pause = patience.pause(error.why, self._clock.monotonic() - began - turn.waited)
                if pause is None or cancel.wait(pause):
                    raise

    def _attempt(self, machine: Machine, ssh: Ssh, timeouts: Timeouts, turn: Turn) -> Connection:
        with self._pace.address(machine.address or machine.id) as address:
            try:
                with turn.at(address):
                    generation = address.generation
                    connection = self._dial(machine, ssh, timeouts, turn.handshake())
            except Cancelled:
                raise _cancelled(machine) from None
            except ConnectError as error:
                if error.why is Why.DROPPED:
                    address.dropped(generation)
                raise
            address.logged_in()
            return connection


def key_of(machine: Machine, ssh: Ssh) -> Key:
    """What makes two connections the same."""
    return machine.address, machine.port, machine.user, machine.key_file or ssh.key, machine.host_keys


def room_for_connections() -> int:
    """For how many connections this process may open files; asks for more files first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST_FILES if soft == resource.RLIM_INFINITY else soft
    return max(8, (files - FILES_OF_OTHERS) // FILES_EACH)


def _cancelled(machine: Machine) -> ConnectError:
    name = f"{machine.user}@{machine.address}:{machine.port}"
    return ConnectError(Why.UNREACHABLE, f"cancelled before there was a connection to {name}")


def _end(connections: Sequence[Connection]) -> None:
    """End connections, each with the shell that it keeps: a shell waits for its host, so many end side by side."""
    if len(connections) < 2 or all(connection.shell is None for connection in connections):
        for connection in connections:
            connection.close()
        return
    with ThreadPoolExecutor(min(ENDING, len(connections)), thread_name_prefix="end") as threads:
        list(threads.map(lambda connection: connection.close(), connections))
