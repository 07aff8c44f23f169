"""Where the agent of a project listens: a socket that only this user reaches, named after all that must be the same."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsflow.engine.agent import places
from opsflow.engine.agent.places import ENVIRONMENT
from opsflow.errors import OpsflowError


class NoAgent(OpsflowError):
    """There can be no agent; the message says why."""


def runtime_directory(environment: Mapping[str, str], fallback: Path | None = None) -> Path:
    """The directory of the agents' sockets; made when it is missing.

    Raises:
        NoAgent: it cannot be made, or others than this user can enter it.
    """
    reasons = []
    for path in candidates(environment, fallback):
        if not (why := _why_not_private(path)):
            return path
        reasons.append(why)
    raise NoAgent("; ".join(reasons))


def candidates(environment: Mapping[str, str], fallback: Path | None = None) -> list[Path]:
    """Where the sockets may be, best first."""
    found = places.candidates(environment, None if fallback is None else str(fallback))
    return [Path(path) for path in found]


def _why_not_private(path: Path) -> str:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return places.why_not_private(str(path))


def name_of(directories: Sequence[Path], environment: Mapping[str, str]) -> str:
    """The name of the agent for these state and recipes: another opsflow, Python or environment has another one."""
    identity = {
        "paths": [str(path.resolve()) for path in directories],
        "environment": {key: environment.get(key) for key in ENVIRONMENT},
        "python": places.python_and_code(),
    }
    return places.digest(identity)


def is_ours(sock: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user."""
    return peer(sock)[1] == os.geteuid()


def peer(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end.

    Raises:
        NoAgent: this system does not tell.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise NoAgent("this system does not tell who is at the other end of a socket")
    return places.peer(sock)
