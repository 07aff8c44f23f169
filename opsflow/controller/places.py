"""How many instances are worked on at the same time, and who is next.

The others wait in the order in which they came. A place is lent to the next one while its holder can do nothing but
wait: for another command of its instance, or for a host that does not answer. So hosts that are dead delay nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opsflow.clock import Clock

PATIENCE = 2.0
"""Seconds that a host may take to answer before its place is lent."""
LENT = 2
"""For each place, so many hosts that do not answer may have lent theirs: each has a thread."""

Begin = Callable[["Place"], None]


@dataclass(eq=False)
class Place:
    """The right of one job to work."""

    waits_since: float | None = None
    """Since when it waits for its host to answer."""
    lent: bool = False
    back: threading.Event = field(default_factory=threading.Event)
    """Set when it has its place again."""


class Places:
    """As many places as may be taken at once. Used by many threads, each with at most one place."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._free = most
        self._queue: deque[Begin] = deque()
        self._returning: deque[Place] = deque()
        self._waiting: dict[Place, None] = {}
        """Those whose hosts have not answered yet, the longest first."""
        self._lent = 0
        """How many of them have lent their place."""
        self._mine = threading.local()

    # ---------------------------------------------------------------------------------------- taking turns

    def enter(self, begin: Begin) -> None:
        """Call ``begin`` with a place as soon as it is its turn; it must return at once."""
        with self._lock:
            self._queue.append(begin)
        self._admit()

    @contextmanager
    def taken(self, place: Place) -> Iterator[None]:
        """What this thread does has this place, and gives it up at the end."""
        self._mine.place = place
        try:
            yield
        finally:
            self._mine.place = None
            with self._lock:
                self._free += 1
            self._admit()

    def close(self) -> None:
        """Nobody else gets a turn."""
        with self._lock:
            self._queue.clear()

    def _admit(self) -> None:
        begins: list[Begin] = []
        with self._lock:
            while self._free > 0 and (self._returning or self._queue):
                self._free -= 1
                if self._returning:
                    self._returning.popleft().back.set()
                else:
                    begins.append(self._queue.popleft())
        for begin in begins:
            begin(Place())

    # ---------------------------------------------------------------------------------------- waiting

    @contextmanager
    def holding(self, lock: threading.RLock) -> Iterator[None]:
        """With the lock of an instance; whoever has to wait for it does so without a place."""
        if not lock.acquire(blocking=False):
            self._wait_without_place(lock)
        try:
            yield
        finally:
            lock.release()

    def _wait_without_place(self, lock: threading.RLock) -> None:
        place = self._own()
        if place is None:
            lock.acquire()
            return
        self._give_up(place)
        lock.acquire()
        self._come_back(place)

    @contextmanager
    def reaching(self) -> Iterator[Callable[[bool], None]]:
        """While this thread may have to wait for its host; it is told with True when it does, with False when not."""
        place = self._own()
        try:
            yield lambda waits: None if place is None else self._reach(place, waits)
        finally:
            if place is not None:
                self._reached(place, at_once=True)

    def _reach(self, place: Place, waits: bool) -> None:
        if waits:
            with self._lock:
                place.waits_since = self._clock.monotonic()
                self._waiting[place] = None
        else:
            self._reached(place)

    def _reached(self, place: Place, *, at_once: bool = False) -> None:
        """The host answered; or it is given up, and the little that is left to do waits for nobody."""
        with self._lock:
            self._waiting.pop(place, None)
            was_lent, place.lent = place.lent, False
            self._lent -= was_lent
            self._free -= was_lent and at_once
        if was_lent and not at_once:
            self._come_back(place)

    def due_in(self) -> float | None:
        """Seconds until :meth:`lend` may have something to do; None when nobody waits for a place."""
        with self._lock:
            if not self._queue or self._lent >= LENT * self._most:
                return None
            since = next((place.waits_since for place in self._waiting if not place.lent), None)
            return PATIENCE if since is None else max(0.0, since + PATIENCE - self._clock.monotonic())

    def lend(self) -> None:
        """Give the places of those whose hosts are silent to the next ones."""
        while self.due_in() == 0.0:
            with self._lock:
                place = next((place for place in self._waiting if not place.lent), None)
                if place is None:
                    return
                place.lent = True
                self._lent += 1
                self._free += 1
            self._admit()

    # ---------------------------------------------------------------------------------------- inside

    def _own(self) -> Place | None:
        place: Place | None = getattr(self._mine, "place", None)
        return place

    def _give_up(self, place: Place) -> None:
        with self._lock:
            self._free += 1
        self._admit()

    def _come_back(self, place: Place) -> None:
        """Those who come back are before those who have not begun."""
        place.back.clear()
        with self._lock:
            self._returning.append(place)
        self._admit()
        place.back.wait()
