"""Where the agent of a project listens: a socket that only this user reaches, named after all that must be the same."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from opsflow.errors import OpsflowError

LONGEST = 107
"""Bytes of the name of a socket."""
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSH_AUTH_SOCK")
"""What recipes (pool.KEPT_ENVIRONMENT) and logins see of the environment: with other values it is another agent."""
PACKAGE = Path(__file__).resolve().parents[2]


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
    given = environment.get("XDG_RUNTIME_DIR", "")
    found = [Path(given) / "opsflow"] if given.startswith("/") and Path(given).is_dir() else []
    found.append(Path("/tmp") / f"opsflow-{os.geteuid()}")  # noqa: S108 - looked at before it is used
    if fallback is not None:
        found.append(fallback)
    return [path for path in found if len(os.fsencode(path)) + len("/0123456789abcdef.sock") <= LONGEST]


def _why_not_private(path: Path) -> str:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return f"{path} is not a directory of this user"
    return f"others can enter {path}: chmod 700 {path}" if found.st_mode & 0o077 else ""


def name_of(directories: Sequence[Path], environment: Mapping[str, str]) -> str:
    """The name of the agent for these state and recipes: another opsflow, Python or environment has another one."""
    identity = {
        "paths": [str(path.resolve()) for path in directories],
        "environment": {key: environment.get(key) for key in ENVIRONMENT},
        "python": [sys.executable, sys.version, *_installed()],
        "code": _code_stamp(),
    }
    return hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()


def _code_stamp() -> list[int]:
    """Changes when a file of opsflow does: an agent that runs older code must not answer for newer."""
    newest = size = count = 0
    for found in _sources(PACKAGE):
        status = found.stat()
        newest, size, count = max(newest, status.st_mtime_ns), size + status.st_size, count + 1
    return [newest, size, count]


def _sources(directory: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                yield from _sources(entry.path)


def _installed() -> Iterator[int]:
    """Changes when a package is installed, updated or removed."""
    for entry in sys.path:
        if entry.endswith("-packages") and Path(entry).is_dir():
            yield Path(entry).stat().st_mtime_ns


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
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
