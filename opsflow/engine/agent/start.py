"""Finding the agent of some recipes, or starting one: detached, and alive until nobody needs it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opsflow.engine.agent import places, wire
from opsflow.engine.agent.address import NoAgent, candidates, name_of, peer, runtime_directory

IDLE = 600.0
"""Seconds without a client after which an agent ends; OPSFLOW_AGENT_IDLE sets it."""
START = 20.0
"""Seconds that an agent may take to listen."""
ANSWER = 5.0
"""Seconds that it may take to say hello."""
ATTEMPTS = 5
"""It may end, idle, while we connect to it; then the next one is started."""


@dataclass(frozen=True, slots=True)
class Found:
    """An agent that answers."""

    socket: socket.socket
    hello: Mapping[str, Any]


class Agents:
    """The agents of this user for one set of recipes: there is at most one that fits."""

    def __init__(self, recipe_paths: Sequence[Path], state: Path) -> None:
        """``state`` is the project's own directory: for what the engine remembers, and the last resort for sockets."""
        self._paths = recipe_paths
        self._state = state

    @property
    def path(self) -> Path:
        """Its socket.

        Raises:
            NoAgent: there is no place for it.
        """
        name = name_of([self._state, *self._paths], os.environ)
        return self._directory / f"{name}.sock"

    @property
    def _directory(self) -> Path:
        return runtime_directory(os.environ, self._state / "agent")

    def running(self) -> Found | None:
        """The one that runs; None when there is none.

        Raises:
            NoAgent: there is no place for one, or what answers there is not ours.
        """
        if not any(any(place.glob("*.sock")) for place in candidates(os.environ, self._state / "agent")):
            return None  # the usual case, and a cheap one
        return connect(self.path)

    def start(self, idle: float | None = None) -> Found:
        """The one that runs, or a new one.

        Raises:
            NoAgent: it could not be started.
        """
        path = self.path
        for _ in range(ATTEMPTS):
            found = connect(path)
            if found is not None:
                return found
            self._spawn(path, idle_seconds() if idle is None else idle)
        raise NoAgent(f"the agent does not stay: see {path.with_suffix('.log')}")

    def _spawn(self, path: Path, idle: float) -> None:
        """Start one and wait until it listens, or says why it does not. A second one gives way to the first."""
        read, write = os.pipe()
        try:
            self._state.mkdir(mode=0o700, exist_ok=True)
            directories = (self._state, *self._paths)
            prepared = places.prepared_socket(str(self._directory), str(self._state.parent), os.environ)
            argv = [str(path), prepared, repr(idle), str(write), *(str(each.resolve()) for each in directories)]
            with open(path.with_suffix(".log"), "ab", opener=_private) as log:
                starter = subprocess.Popen(
                    [sys.executable, "-P", "-c", MAIN, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(write,),
                    start_new_session=True,
                    cwd="/",
                )
            os.close(write)
            write = -1
            starter.wait()  # it leaves the agent behind
            said = _read(read, START)
        finally:
            for descriptor in (read, write):
                if descriptor >= 0:
                    os.close(descriptor)
        if said != b"ready":
            why = said.decode(errors="replace") or "it ended at once, or said nothing"
            raise NoAgent(f"the agent could not be started: {why}; see {path.with_suffix('.log')}")


MAIN = "from opsflow.cli.prepared import agent_process; agent_process()"


def connect(path: Path) -> Found | None:
    """The agent that listens there; None when nobody does.

    Raises:
        NoAgent: whoever listens is not ours.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER)
        sock.connect(str(path))
        pid, uid = peer(sock)
        if uid != os.geteuid():
            raise NoAgent(f"process {pid} listens at {path} and belongs to user {uid}")
        wire.send(sock, [wire.text("hello")])
        ((kind, hello),) = wire.receive(sock)
        if kind != "hello" or hello["name"] != path.stem:
            raise NoAgent(f"process {pid} listens at {path} and is another agent")
    except (OSError, wire.Gone):
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    sock.settimeout(None)
    return Found(sock, hello)


def listen(path: Path) -> socket.socket:
    """Listen there; a socket that is there already was left by an agent that was killed.

    Raises:
        OSError: it cannot be made.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(128)
    return listener


def idle_seconds() -> float:
    """What OPSFLOW_AGENT_IDLE says.

    Raises:
        NoAgent: it is no number.
    """
    given = os.environ.get("OPSFLOW_AGENT_IDLE")
    if not given:
        return IDLE
    with suppress(ValueError):
        if (seconds := float(given)) > 0:
            return seconds
    raise NoAgent(f"OPSFLOW_AGENT_IDLE is a number of seconds, not '{given}'")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(descriptor: int, timeout: float) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], timeout)
    return os.read(descriptor, 4096) if ready else b""
