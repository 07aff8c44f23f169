"""The engine's side of the planner processes: start them on demand, ask for plans, end what hangs."""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from opsflow.engine.messages import HostPlan, PlanFailure, PlanRequest
from opsflow.engine.planner import receive, send

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")
"""Nothing else of the environment reaches recipes: it may hold credentials."""


@dataclass(slots=True)
class Worker:
    """One planner process: our end of its connection, and its pid once it has said it."""

    socket: socket.socket
    pid: int = 0


class PlannerPool:
    """Makes plans in separate processes; ``size`` at once. Safe to use from many threads."""

    def __init__(self, *, size: int | None = None, timeout: float = 120.0) -> None:
        self._timeout = timeout
        self._size = size or max(2, os.cpu_count() or 2)
        self._slots = threading.BoundedSemaphore(self._size)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._plans: set[int] = set()
        self._idle: dict[str, list[Worker]] = {}
        """By what they have loaded: processes that wait for their next plan."""
        self._closed = False
        self._ended: dict[int, int] = {}
        self._news = threading.Condition()

    def start(self) -> None:
        """Start the planner in the background, so that it is ready when the first host is."""
        with self._lock:
            self._running()

    def plan(self, request: PlanRequest, loaded: str = "") -> HostPlan:
        """Ask for a plan. A recipe that ends, hangs or eats its process is a plan with a failure.

        ``loaded`` names the state of the recipe files: a process that has loaded the same ones may be used again.
        """
        with self._slots:
            if self._closed:
                return _failed("the engine was closed")
            worker = self._take(loaded) if loaded else None
            if worker is not None:
                plan = self._talk(worker, request)
                if plan is not None:
                    return self._kept(worker, loaded, plan)
            return self._new_worker(request, loaded)

    def _new_worker(self, request: PlanRequest, loaded: str) -> HostPlan:
        try:
            ours = self._connect()
        except OSError:
            ours = self._connect()  # the planner died a moment ago: there is a new one now
        worker = Worker(ours)
        return self._kept(worker, loaded, self._talk(worker, request) or _failed("the planner process could not start"))

    def _take(self, loaded: str) -> Worker | None:
        with self._lock:
            waiting = self._idle.get(loaded, [])
            worker = waiting.pop() if waiting else None
            if not waiting:
                self._idle.pop(loaded, None)
            return worker

    def _kept(self, worker: Worker, loaded: str, plan: HostPlan) -> HostPlan:
        """Keep the process for the next plan, if it can make one; at most as many wait as work at once."""
        ended: list[Worker] = []
        with self._lock:
            if plan.again and loaded and not self._closed:
                self._idle.setdefault(loaded, []).append(worker)
            else:
                ended.append(worker)
            while sum(map(len, self._idle.values())) > self._size:
                oldest = next(iter(self._idle))
                ended.append(self._idle[oldest].pop(0))
                if not self._idle[oldest]:
                    del self._idle[oldest]
        for each in ended:
            each.socket.close()
        return plan

    def close(self) -> None:
        """End the planner; plans under way fail, and no new ones are made."""
        with self._lock:
            self._closed = True
            process, control = self._process, self._control
            self._process = self._control = None
            plans = tuple(self._plans)
            idle, self._idle = self._idle, {}
        for worker in (worker for waiting in idle.values() for worker in waiting):
            worker.socket.close()
        for pid in plans:
            self._kill(pid)
        if control is not None:
            with suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)
            control.close()
        if process is not None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            control = self._running()
            descriptors = array.array("i", [theirs.fileno()])
            try:
                control.sendmsg([b"p"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            except OSError:
                ours.close()
                self._discard()
                raise
        ours.settimeout(self._timeout)
        return ours

    def _discard(self) -> None:
        """Give up a planner that does not listen any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._control is not None:
            self._control.close()
        self._process = self._control = None

    def _running(self) -> socket.socket:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._discard()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "opsflow.engine.planner"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
                start_new_session=True,
            )
        self._control = ours
        threading.Thread(target=self._listen, args=(ours,), name="planner-news", daemon=True).start()
        return ours

    def _listen(self, control: socket.socket) -> None:
        """Collect how children ended."""
        data = b""
        with suppress(OSError):
            while chunk := control.recv(4096):
                data += chunk
                while len(data) >= 8:
                    pid, status = struct.unpack(">ii", data[:8])
                    data = data[8:]
                    with self._news:
                        self._ended[pid] = status
                        self._news.notify_all()

    def _talk(self, worker: Worker, request: PlanRequest) -> HostPlan | None:
        """The worker's plan; None when it had ended before it was asked."""
        try:
            if not worker.pid:
                hello = receive(worker.socket)
                if hello is None:
                    return None
                worker.pid = struct.unpack(">i", hello)[0]
                self._ended.pop(worker.pid, None)  # of an earlier process with this pid
            elif worker.pid in self._ended:
                return None
            self._plans.add(worker.pid)
            send(worker.socket, request.model_dump_json().encode())
            answer = receive(worker.socket)
        except TimeoutError:
            self._kill(worker.pid)
            return _failed(f"the recipes took more than {self._timeout:g} s to plan and were ended", _HANGING)
        except OSError:
            answer = None
        finally:
            self._plans.discard(worker.pid)
        if answer is None:
            return _failed(f"the recipes ended their planner process ({self._how_ended(worker.pid)})", _ENDING)
        try:
            return HostPlan.model_validate_json(answer)
        except ValidationError:
            return _failed("the recipes wrote into their planner's connection", _ENDING)

    def _kill(self, pid: int) -> None:
        if pid:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _how_ended(self, pid: int) -> str:
        with self._news:
            self._news.wait_for(lambda: pid in self._ended, timeout=2)
            status = self._ended.pop(pid, None)
        self._kill(pid)
        if status is None:
            return "for an unknown reason"
        if os.WIFSIGNALED(status):
            return f"by signal {signal.Signals(os.WTERMSIG(status)).name}"
        return f"with exit code {os.WEXITSTATUS(status)}"


_HANGING = "recipes only describe operations; look for an endless loop, or for work that belongs into an operation"
_ENDING = "look for os._exit, a crash in a C library, many processes, or more memory or time than allowed"


def _failed(message: str, hint: str = "") -> HostPlan:
    return HostPlan(failure=PlanFailure(message=message, hint=hint))


def _environment() -> Mapping[str, str]:
    kept = {key: os.environ[key] for key in KEPT_ENVIRONMENT if key in os.environ}
    # Bytecode of the user's recipes does not belong into the user's directories.
    # The order of a set must be the same in every plan of a run.
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
