"""A fork of the prepared process becomes the process of one command: as if the client itself ran it."""

from __future__ import annotations

import atexit
import io
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

from opsflow.cli import program, request
from opsflow.errors import ExitCode

PATIENCE = 10.0
"""Seconds that a client may take to hand everything over."""


def be(sock: socket.socket, read: dict[str, str | None]) -> NoReturn:
    """Become what the client at ``sock`` asks for and run it; ``read`` is what imported modules saw of the environment.

    Ends without having begun when this process cannot be like the client's.
    """
    sock.settimeout(PATIENCE)
    try:
        asked, descriptors = request.receive(sock, 4)
        if not _fits(asked, read):
            os._exit(1)
        _become(asked, descriptors)
        sock.sendall(b"%s%d\n" % (request.READY, os.getpid()))
        sock.settimeout(None)  # it may have been stopped
        if sock.recv(1) != request.GO:
            os._exit(1)
    except (OSError, ValueError):
        os._exit(1)
    threading.Thread(target=_end_with, args=(sock,), name="client", daemon=True).start()
    code = _run(asked["blocked"])
    with suppress(OSError):
        sock.sendall(b"%s %d\n" % (request.EXIT, code))
    os._exit(code)


def _fits(asked: dict[str, Any], read: dict[str, str | None]) -> bool:
    """Whether this process can become like the client's."""
    given = {os.fsdecode(key): os.fsdecode(value) for key, value in asked["environment"]}
    return asked["surroundings"] == request.surroundings() and all(
        given.get(name) == value for name, value in read.items()
    )


def _become(asked: dict[str, Any], descriptors: list[int]) -> None:
    """Take all over that the client's process has.

    Raises:
        OSError: it cannot be taken over.
        ValueError: the same.
    """
    *streams, directory = descriptors
    os.setpgid(0, 0)
    Path("/proc/self/comm").write_bytes(asked["name"])
    for number, limits in asked["limits"]:
        if resource.getrlimit(number) != tuple(limits):
            resource.setrlimit(number, limits)
    if os.getpriority(os.PRIO_PROCESS, 0) != asked["priority"]:
        os.setpriority(os.PRIO_PROCESS, 0, asked["priority"])
    if sorted(os.sched_getaffinity(0)) != asked["processors"]:
        os.sched_setaffinity(0, asked["processors"])
    os.umask(asked["umask"])
    os.fchdir(directory)
    os.close(directory)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    _replace_environment(asked["environment"])
    sys.argv = [os.fsdecode(word) for word in asked["argv"]]
    _take_streams()
    random.seed()
    _take_signals(asked["ignored"])


def _replace_environment(environment: list[tuple[bytes, bytes]]) -> None:
    os.environb.clear()
    os.environb.update(environment)
    time.tzset()


def _take_streams() -> None:
    """Make streams of the descriptors, as Python does when it starts."""
    sys.stdin = sys.__stdin__ = _stream(0, "r", sys.stdin)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w", sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w", sys.stderr)  # type: ignore[misc]


def _stream(descriptor: int, mode: str, like: TextIO) -> io.TextIOWrapper:
    """A stream with the encoding of the one that Python made of this process's own descriptor."""
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = like.name
    unbuffered = like.write_through  # type: ignore[attr-defined]  # PYTHONUNBUFFERED
    buffer: Any = io.BufferedReader(raw) if mode == "r" else raw if unbuffered else io.BufferedWriter(raw)
    how = {"line_buffering": not unbuffered and (raw.isatty() or descriptor == 2), "write_through": unbuffered}  # noqa: PLR2004
    stream = io.TextIOWrapper(buffer, like.encoding, like.errors, newline="\n", **how)
    stream.mode = mode  # type: ignore[misc]
    return stream


def _take_signals(ignored: list[int]) -> None:
    """Take dispositions over; the signals themselves wait until the command runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, request.SIGNALS)
    for number in request.SIGNALS:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with(sock: socket.socket) -> None:
    """Wait until the client is gone, which it is before the command has ended only when it was killed."""
    with suppress(OSError):
        sock.recv(1)
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGKILL if ignored else signal.SIGTERM)


def _run(blocked: list[int]) -> int:
    """Run the command to the end of the process, without taking everything that is imported apart."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        code = program.main()
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BaseException:  # noqa: BLE001 - it is shown as Python shows it
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(code)
