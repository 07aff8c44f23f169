"""Makes a planner process steady: the same request gives the same plan, also for recipes that use chance or the clock.

A recipe is called anew for each plan of a run. Were its random names and times to differ, what it has already done on
the host would not fit to what it wants next.
"""

from __future__ import annotations

import datetime as datetime_module
import hashlib
import os
import random
import time
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from typing import Any


def pin_chance(seed: str) -> None:
    """Let `random`, `secrets`, `uuid4` and `os.urandom` be the same stream of bytes for the same seed.

    The seed is a secret of the run with as much chance in it as the stream needs, so passwords made from it are good.
    """
    position = 0

    def urandom(size: int, /) -> bytes:
        nonlocal position
        blocks = -(-size // 64) or 1
        data = b"".join(_block(seed, position + number) for number in range(blocks))
        position += blocks
        return data[:size]

    os.urandom = urandom
    random._urandom = urandom  # type: ignore[attr-defined]  # noqa: SLF001 - where `secrets` gets its bytes
    random.seed(urandom(32))


def _block(seed: str, number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big"), key=seed.encode()[:64]).digest()


def pin_clock(moment: datetime) -> type[datetime]:
    """Let the wall clock stand still at ``moment``; returns the `datetime` that does so."""
    stamp = moment.timestamp()
    pinned = _pinned_datetime(moment)
    datetime_module.datetime = pinned  # type: ignore[misc]
    datetime_module.date = _pinned_date(moment)  # type: ignore[misc]
    time.time = lambda: stamp  # noqa: TID251 - replaced, not read
    time.time_ns = lambda: int(stamp * 1e9)
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _with_default(getattr(time, name), stamp))
    plain = time.strftime
    time.strftime = lambda form, *when: plain(form, *(when or (time.localtime(),)))
    return pinned


def _with_default(function: Callable[[float], Any], stamp: float) -> Callable[..., Any]:
    return lambda seconds=None: function(stamp if seconds is None else seconds)


def _pinned_datetime(moment: datetime) -> type[datetime]:
    class Kind(type):
        """A real datetime is one, too: code that was imported before made it."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Pinned(datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            here = moment.astimezone(tz)
            return here.replace(tzinfo=None) if tz is None else here

        @classmethod
        def utcnow(cls) -> datetime:  # type: ignore[override]
            return moment.astimezone(datetime_module.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> datetime:  # type: ignore[override]
            return cls.now()

    Pinned.__name__ = Pinned.__qualname__ = "datetime"
    return Pinned


def _pinned_date(moment: datetime) -> type[date]:
    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, date)

    class Pinned(date, metaclass=Kind):
        @classmethod
        def today(cls) -> date:  # type: ignore[override]
            return moment.astimezone().date()

    Pinned.__name__ = Pinned.__qualname__ = "date"
    return Pinned
