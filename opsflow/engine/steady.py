"""Makes a planner process steady: the same request gives the same plan, also for recipes that use chance or the clock.

A recipe is called anew for each plan of a run. Were its random names and times to differ, what it has already done on
the host would not fit to what it wants next. What a plan used of chance and the clock is noted: such a plan belongs to
its run and must not be kept for another one.
"""

from __future__ import annotations

import datetime as datetime_module
import hashlib
import os
import random
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Any

used: set[str] = set()
"""``chance`` and ``clock``, when something has asked for them since it was last cleared."""


class _Pinned:
    """What everything in this process sees; replaced functions look here, whenever they were imported."""

    moment = datetime.fromtimestamp(0, UTC)
    stamp = 0.0
    seed = b""
    position = 0
    drawn: object = None
    """State of the generator of `random` when chance was pinned: it asks for bytes only once."""


def pin_chance(seed: str) -> None:
    """Let `random`, `secrets`, `uuid4` and `os.urandom` be the same stream of bytes for the same seed.

    The seed is a secret of the run with as much chance in it as the stream needs, so passwords made from it are good.
    """
    _Pinned.seed, _Pinned.position = seed.encode()[:64], 0
    os.urandom = _urandom
    random._urandom = _urandom  # type: ignore[attr-defined]  # noqa: SLF001 - where `secrets` gets its bytes
    random.seed(_bytes(32))
    _Pinned.drawn = random.getstate()


def _urandom(size: int, /) -> bytes:
    used.add("chance")
    return _bytes(size)


def _bytes(size: int) -> bytes:
    blocks = -(-size // 64) or 1
    first = _Pinned.position
    _Pinned.position += blocks
    return b"".join(_block(first + number) for number in range(blocks))[:size]


def _block(number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big"), key=_Pinned.seed).digest()


def chance_used() -> bool:
    """Whether anything has drawn a random number since chance was pinned."""
    return "chance" in used or random.getstate() != _Pinned.drawn


def pin_clock(moment: datetime) -> type[datetime]:
    """Let the wall clock stand still at ``moment``; returns the `datetime` that does so."""
    _Pinned.moment, _Pinned.stamp = moment, moment.timestamp()
    if datetime_module.datetime is not PinnedDatetime:
        _replace_clock()
    return PinnedDatetime


def _replace_clock() -> None:
    datetime_module.datetime = PinnedDatetime  # type: ignore[misc]
    datetime_module.date = PinnedDate  # type: ignore[misc]
    time.time = _stamp  # noqa: TID251 - replaced, not read
    time.time_ns = lambda: int(_stamp() * 1e9)
    for name in ("localtime", "gmtime", "ctime"):
        setattr(time, name, _with_default(getattr(time, name)))
    plain = time.strftime
    time.strftime = lambda form, *when: plain(form, *(when or (time.localtime(),)))


def _stamp() -> float:
    used.add("clock")
    return _Pinned.stamp


def _moment() -> datetime:
    used.add("clock")
    return _Pinned.moment


def _with_default(function: Callable[[float], Any]) -> Callable[..., Any]:
    return lambda seconds=None: function(_stamp() if seconds is None else seconds)


class _DatetimeKind(type):
    """A real datetime is one, too: code that was imported before made it."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class _DateKind(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, date)


class PinnedDatetime(datetime, metaclass=_DatetimeKind):
    """`datetime.datetime`, for which it is always the run's time."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """The run's time."""
        here = _moment().astimezone(tz)
        return here.replace(tzinfo=None) if tz is None else here

    @classmethod
    def utcnow(cls) -> datetime:  # type: ignore[override]
        """The run's time in UTC, without a zone."""
        return _moment().astimezone(UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> datetime:  # type: ignore[override]
        """The run's time."""
        return cls.now()


class PinnedDate(date, metaclass=_DateKind):
    """`datetime.date`, for which it is always the run's day."""

    @classmethod
    def today(cls) -> date:  # type: ignore[override]
        """The run's day."""
        return _moment().astimezone().date()


PinnedDatetime.__name__ = PinnedDatetime.__qualname__ = "datetime"
PinnedDate.__name__ = PinnedDate.__qualname__ = "date"
