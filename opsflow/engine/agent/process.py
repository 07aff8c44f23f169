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
Serve = Callable[[Path, int], None]
"""Runs commands in forks, at this socket, until this descriptor can be read."""


def main(make: Make, clock: Clock, serve: Serve) -> None:
    """Be an agent. Arguments: two sockets, idle seconds, descriptor to report to, state, directories of recipes."""
    path, prepared_path, idle, report, state, *recipe_paths = sys.argv[1:]
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
    # Forked now: there are no threads yet.
    prepared = Prepared(serve, Path(prepared_path), (listener.fileno(), lock, int(report)))
    agent = Agent(listener, Path(path).stem, lambda: make(recipes, Path(state)), clock, float(idle), prepared.pid)
    _obey(agent)
    _report(int(report), b"ready")
    _note(f"started, pid {os.getpid()}")
    agent.serve()
    # From here on whoever comes finds nobody, and starts another one.
    with suppress(FileNotFoundError):
        Path(path).unlink()
    prepared.end()
    listener.close()
    os.close(lock)
    _end_at_last()
    agent.close()
    _note("ended")


class Prepared:
    """The process beside the agent that runs commands in forks. It ends when the agent does, however that happens."""

    def __init__(self, serve: Serve, path: Path, inherited: Sequence[int]) -> None:
        agent, self._end = os.pipe()
        self._pid: int | None = os.fork()
        if self._pid:
            os.close(agent)
            return
        code = 1
        try:
            for descriptor in (*inherited, self._end):
                os.close(descriptor)
            serve(path, agent)
            code = 0
        except BaseException as error:  # noqa: BLE001 - commands then run without it
            _note(f"no prepared process: {type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def pid(self) -> int | None:
        """Its pid; None when it has ended."""
        with suppress(ChildProcessError):
            if self._pid is not None and os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                return self._pid
        self._pid = None
        return None

    def end(self) -> None:
        """Let it end as soon as the commands that it runs have ended."""
        os.close(self._end)


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
