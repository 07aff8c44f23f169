"""The prepared process: has imported what commands need, and forks for each that is handed over.

It is a companion of the agent, has one thread, and reads nothing: neither files of the project nor what is handed over.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import select
import signal
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from opsflow.cli import request
from opsflow.cli.handover import COMMANDS
from opsflow.engine.agent import places

LOOK = 1.0
"""Seconds between two looks whether the prepared process of another agent of the project has ended."""
MODULES = (
    "opsflow.cli.program", "opsflow.cli.run", "opsflow.cli.plan", "opsflow.cli.apps", "opsflow.cli.instances",
    "opsflow.cli.hosts", "opsflow.cli.status", "opsflow.cli.runs", "opsflow.cli.events", "opsflow.cli.explain",
    "opsflow.cli.project", "opsflow.cli.live", "opsflow.cli.command_process",
    "opsflow.config", "opsflow.controller", "opsflow.controller.preflight", "opsflow.planning.rollout",
    "opsflow.planning.text", "opsflow.lifecycle.reach",
    "opsflow.store.sql", "sqlalchemy.dialects.sqlite",
    "opsflow.engine.agent.start", "opsflow.engine.agent.client", "opsflow.engine.catalog",
    "opsflow.providers.compute.static", "opsflow.providers.compute.sandbox", "opsflow.providers.sources",
    "opsflow.providers.sources.fetching",
)  # fmt: skip
"""What commands import, most of them when they are used."""


def agent_process() -> None:
    """Be an agent with a prepared process (wiring.agent_process)."""
    with reading(os.environ) as read:
        importlib.import_module("opsflow.engine.agent.process")
        wiring = importlib.import_module("opsflow.wiring")
    wiring.agent_process(partial(serve, read))


def serve(read: set[str], path: Path, agent: int) -> None:
    """Prepare and serve until the agent ends, which closes the other end of ``agent``; in a child, never returns.

    ``read`` are the variables of the environment that were read by what is imported already.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lock = _alone(path, agent)
    if lock is None:
        return
    with reading(os.environ) as read_now:
        for module in MODULES:
            importlib.import_module(module)
        importlib.import_module("opsflow.cli.commands").build(sorted(COMMANDS))
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        raise RuntimeError("a module that is imported starts threads; processes that have some cannot be forked")
    gc.collect()
    gc.freeze()
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(128)
    forks = _Forks({name: os.environ.get(name) for name in read | read_now})
    _accept(listener, agent, lock, forks)
    path.unlink(missing_ok=True)
    listener.close()
    os.close(lock)
    while forks.under_way:
        forks.wait()


def _alone(path: Path, agent: int) -> int | None:
    """The lock of this socket; None when the agent ended while another one had it."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if select.select([agent], [], [], LOOK)[0]:
                return None


@contextmanager
def reading(environment: MutableMapping[str, str]) -> Iterator[set[str]]:
    """The variables that are read meanwhile: modules keep what they make of them, so they must not differ."""
    read: set[str] = set()
    usual = type(environment)

    class Noted(usual):  # type: ignore[misc, valid-type]
        def __getitem__(self, key: str) -> Any:
            read.add(key)
            return super().__getitem__(key)

    environment.__class__ = Noted
    try:
        yield read
    finally:
        environment.__class__ = usual


def _accept(listener: socket.socket, agent: int, lock: int, forks: _Forks) -> None:
    own = (listener.fileno(), agent, lock)
    while True:
        ready = forks.wait(listener.fileno(), agent)
        if agent in ready:
            return
        if listener.fileno() in ready:
            with suppress(OSError):
                sock, _ = listener.accept()
                forks.begin(sock, own)


@dataclass
class _Forks:
    """The commands that are under way."""

    read: dict[str, str | None]
    under_way: dict[int, tuple[int, socket.socket]] = field(default_factory=dict)
    """Each process, by a descriptor that can be read when it has ended, and who waits for it."""
    _left: set[int] = field(default_factory=set)
    """Those for whom nobody waits any more."""

    def begin(self, sock: socket.socket, own: tuple[int, ...]) -> None:
        """Fork; the child finds out by itself what it is asked for."""
        sock.setblocking(True)
        if places.peer(sock)[1] != os.geteuid():
            sock.close()
            return
        pid = os.fork()
        if pid:
            self.under_way[os.pidfd_open(pid)] = (pid, sock)
            return
        # Nothing of this process is left when the command begins, and nothing of it runs afterwards.
        try:
            for descriptor in (*own, *self.under_way):
                os.close(descriptor)
            for _, other in self.under_way.values():
                other.close()
            from opsflow.cli.command_process import be

            be(sock, self.read)
        finally:
            os._exit(1)

    def wait(self, *others: int) -> set[int]:
        """Wait until one of these descriptors can be read, or a command ended; tell how those ended that did."""
        poll = select.poll()
        for descriptor in (*others, *self.under_way):
            poll.register(descriptor, select.POLLIN)
        clients = {sock.fileno(): process for process, (_, sock) in self.under_way.items() if process not in self._left}
        for client in clients:
            poll.register(client, 0)  # only its end
        ready = {descriptor for descriptor, _ in poll.poll()}
        for client in clients.keys() & ready:
            self._left.add(clients[client])
            with suppress(ProcessLookupError):  # it ends by itself, unless its client was killed while both had stopped
                signal.pidfd_send_signal(clients[client], signal.SIGCONT)
        for process in self.under_way.keys() & ready:
            self._reap(process)
        return ready

    def _reap(self, process: int) -> None:
        pid, sock = self.under_way.pop(process)
        self._left.discard(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        word, number = (request.EXIT, code) if code >= 0 else (request.SIGNAL, -code)
        with suppress(OSError):
            sock.send(b"%s %d\n" % (word, number), socket.MSG_DONTWAIT)
        sock.close()
