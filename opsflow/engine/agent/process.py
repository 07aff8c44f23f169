"""The agent's process: detached from whoever started it, alone at its socket, ended by SIGTERM or idleness."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from opsflow.clock import Clock
from opsflow.engine.agent.server import Agent, Services
from opsflow.engine.agent.start import listen

WAIT = 10.0
"""Seconds for an agent that is ending to be gone."""
LOOK = 0.05
ENDING = 60.0
"""Seconds that its runs may take to end; then the process ends without them."""

Make = Callable[[Sequence[Path], Path], Services]
"""Makes the engine for some recipes and the state of their project."""


def main(make: Make, clock: Clock) -> None:
    """Be an agent. Arguments: socket, idle seconds, descriptor to report to, state, directories of recipes."""
    path, idle, report, state, *recipe_paths = sys.argv[1:]
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    lock = _alone(Path(path), clock)
    if lock is None:
        other = _answers(Path(path))
        _report(int(report), b"ready" if other else b"another one holds its lock and does not answer")
        return
    try:
        listener = listen(Path(path))
    except OSError as error:
        _report(int(report), f"{path}: {error.strerror}".encode())
        return
    recipes = [Path(each) for each in recipe_paths]
    agent = Agent(listener, Path(path).stem, lambda: make(recipes, Path(state)), clock, float(idle))
    _obey(agent)
    _report(int(report), b"ready")
    _note(f"started, pid {os.getpid()}")
    agent.serve()
    # From here on whoever comes finds nobody, and starts another one.
    with suppress(FileNotFoundError):
        Path(path).unlink()
    listener.close()
    os.close(lock)
    _end_at_last()
    agent.close()
    _note("ended")


def _alone(path: Path, clock: Clock) -> int | None:
    """The lock of this socket, held until the process ends; None when another agent is alive."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = clock.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if _answers(path) or clock.monotonic() > end:
                os.close(lock)
                return None
            clock.sleep(LOOK)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(str(path)) == 0


def _obey(agent: Agent) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def stop(number: int, frame: object) -> None:
        agent.stop()

    signal.signal(signal.SIGTERM, stop)
    threading.excepthook = _thread_failed


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    # Not the message: it may hold what a host printed.
    trace, where = failure.exc_traceback, ""
    while trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    _note(f"defect: {failure.exc_type.__name__} at {where}")


def _end_at_last() -> None:
    def end() -> None:
        _note("its runs do not end; ended without them")
        os._exit(1)

    timer = threading.Timer(ENDING, end)
    timer.daemon = True
    timer.start()


def _report(descriptor: int, what: bytes) -> None:
    with suppress(OSError):
        os.write(descriptor, what)
    os.close(descriptor)


def _note(text: str) -> None:
    sys.stderr.write(f"agent: {text}\n")
    sys.stderr.flush()
