"""The engine as opsflow uses it when an agent keeps it: the same interface, carried out in another process."""

from __future__ import annotations

import json
import queue
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from opsflow.engine.agent import codec, wire
from opsflow.errors import HostsUnreachable
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult
from opsflow.ports import Engine, HostJob, HostObserver, Mode

LOOK = 0.1
"""Seconds until a cancellation is passed on."""
BACKLOG = 1000
"""Frames that wait for whoever shows them; then the agent waits too."""


class AgentLost(Exception):
    """The agent ended before it answered."""


@dataclass(eq=False, slots=True)
class Call:
    """One call that is under way."""

    number: int
    cancel: threading.Event
    incoming: queue.SimpleQueue[list[wire.Message]] = field(default_factory=queue.SimpleQueue)
    over: bool = False
    """Cancelled or answered: there is nothing left to cancel."""


class AgentEngine:
    """Has an agent do the work (ports.Engine); when the agent ends, another engine goes on from where it was."""

    def __init__(self, sock: socket.socket, fallback: Callable[[], Engine], warn: Callable[[str], None]) -> None:
        self._sock = sock
        self._make_fallback = fallback
        self._warn = warn
        self._fallback: Engine | None = None
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._calls: dict[int, Call] = {}
        self._members = codec.MembersSent(lambda name, data: self._send(f'["members","{name}",{data}]'))
        self._lost = False
        self._backlog = threading.Semaphore(BACKLOG)
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="agent", daemon=True)
        self._reader.start()

    # ------------------------------------------------------------------ ports.Engine

    def check(self, jobs: Sequence[HostJob]) -> None:
        """Have the run lists called once."""

        def ask(number: int) -> str:
            return f'["check",{number},[{",".join(self._job(job) for job in jobs)}]]'

        try:
            self._answer(ask)
        except AgentLost:
            self._other().check(jobs)

    def run(self, job: HostJob, observe: HostObserver, cancel: threading.Event) -> HostResult:
        """Have a job run; when the agent ends after the host began, its run record says how far it came."""
        came = codec.EventsIn(job.node.name)
        try:
            answer = self._answer(
                lambda number: f'["run",{number},{self._job(job)}]', lambda data: observe(came.event(data)), cancel
            )
        except AgentLost:
            # Events take a moment, so that none came does not mean that nothing has begun on the host.
            if job.mode is Mode.RUN:
                job = replace(job, resumes=(job.command, *job.resumes))
            return self._other().run(job, observe, cancel)
        return came.result(*answer)

    def wait_ready(self, machine: Machine, ssh: Ssh, timeout: float, cancel: threading.Event) -> str | None:
        """Have the agent log in; it keeps the connection."""
        host = codec.host_text(machine, ssh)
        try:
            (why,) = self._answer(lambda number: f'["ready",{number},{host},{json.dumps(timeout)}]', None, cancel)
        except AgentLost:
            return self._other().wait_ready(machine, ssh, timeout, cancel)
        return None if why is None else str(why)

    def exec(
        self,
        machine: Machine,
        ssh: Ssh,
        command: str,
        *,
        timeout: float,
        output: Callable[[str, bytes], None],
        cancel: threading.Event | None = None,
    ) -> int:
        """Have one shell command run."""
        if self._lost:
            return self._other().exec(machine, ssh, command, timeout=timeout, output=output, cancel=cancel)
        host, rest = codec.host_text(machine, ssh), f"{json.dumps(command)},{json.dumps(timeout)}"
        try:
            (code,) = self._answer(
                lambda number: f'["exec",{number},{host},{rest}]',
                lambda data: output(data[1], data[2].encode("latin-1")),
                cancel,
            )
        except AgentLost:
            raise HostsUnreachable(f"{machine.address}: {_LOST}") from None
        return int(code)

    def facts(self, machine: Machine, ssh: Ssh, names: Sequence[str]) -> Mapping[str, object]:
        """Have facts read."""
        host = codec.host_text(machine, ssh)
        try:
            (facts,) = self._answer(lambda number: f'["facts",{number},{host},{json.dumps(list(names))}]')
        except AgentLost:
            return self._other().facts(machine, ssh, names)
        found: Mapping[str, object] = facts
        return found

    def close(self) -> None:
        """Leave the agent alone; it keeps its connections."""
        self._closing = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._sock.close()
        if self._fallback is not None:
            self._fallback.close()

    # ------------------------------------------------------------------ one call

    def _answer(
        self,
        ask: Callable[[int], str],
        event: Callable[[Any], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Any]:
        """Ask, hand on events as they come, and return what the answer holds."""
        with self._call(cancel or threading.Event()) as call:
            with self._lock:
                if call.cancel.is_set():
                    call.over = True
                    self._send(f'["cancel",{call.number}]')
                self._send(ask(call.number))
            while True:
                messages = call.incoming.get()
                self._backlog.release()
                for message in messages:
                    if message[0] != "event":
                        call.over = True
                        return _answered(message)
                    if event is not None:
                        event(message[2])

    @contextmanager
    def _call(self, cancel: threading.Event) -> Iterator[Call]:
        call = Call(next(self._numbers), cancel)
        with self._lock:
            if self._lost:
                raise AgentLost
            self._calls[call.number] = call
        try:
            yield call
        finally:
            with self._lock:
                self._calls.pop(call.number, None)
                if not call.over:  # its caller was interrupted
                    self._send(f'["cancel",{call.number}]')

    def _job(self, job: HostJob) -> str:
        return codec.job_text(job, self._members.digest(job.node.members))

    def _send(self, message: str) -> None:
        with suppress(wire.Gone):  # then the reader says so to everybody
            wire.send(self._sock, [message])

    def _other(self) -> Engine:
        """The engine that is used when there is no agent any more."""
        with self._lock:
            if self._fallback is None:
                self._warn("the agent has ended; going on without it, with connections of our own")
                self._fallback = self._make_fallback()
            return self._fallback

    # ------------------------------------------------------------------ the reader

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        try:
            while True:
                if poll.poll(LOOK * 1000):
                    self._hand_out(wire.receive(self._sock))
                self._pass_on_cancellations()
        except wire.Gone:
            pass
        with self._lock:
            self._lost = True
            calls = tuple(self._calls.values())
        for call in calls:
            call.incoming.put([["lost"]])

    def _hand_out(self, messages: list[wire.Message]) -> None:
        """Each call's messages together: its thread wakes up once."""
        sorted_out: dict[int, list[wire.Message]] = {}
        for message in messages:
            sorted_out.setdefault(message[1], []).append(message)
        for number, own in sorted_out.items():
            call = self._calls.get(number)
            if call is None:
                continue  # its caller has gone
            while not self._backlog.acquire(timeout=LOOK):
                self._pass_on_cancellations()
                if self._closing:
                    return
            call.incoming.put(own)

    def _pass_on_cancellations(self) -> None:
        for call in tuple(self._calls.values()):
            if call.cancel.is_set() and not call.over:
                call.over = True
                with self._lock:
                    self._send(f'["cancel",{call.number}]')


def _answered(message: wire.Message) -> list[Any]:
    match message:
        case ["done", _, *answer]:
            return answer
        case ["error", _, data]:
            raise codec.error_from(data)
        case ["defect", _, text]:
            raise RuntimeError(f"in the agent: {text}")
    raise AgentLost


_LOST = "the agent ended in the middle; what it was doing here may be done or not, so look, or run it again"
