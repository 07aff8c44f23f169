"""Where agents and their prepared processes listen, and what tells them apart.

The console script looks here before it imports anything else, so this module imports next to nothing.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b  # the same; but it loads all of OpenSSL

TYPE_CHECKING = False  # see opsflow/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST = 107
"""Bytes of the name of a socket."""
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSH_AUTH_SOCK")
"""What recipes (pool.KEPT_ENVIRONMENT) and logins see of the environment: with other values it is another agent."""
PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120
STATE_DIRECTORY = ".opsflow"


def candidates(environment: Mapping[str, str], fallback: str | None = None) -> list[str]:
    """The directories in which the sockets may be, best first."""
    given = environment.get("XDG_RUNTIME_DIR", "")
    found = [f"{given}/opsflow"] if given.startswith("/") and os.path.isdir(given) else []  # noqa: PTH112
    found.append(f"/tmp/opsflow-{os.geteuid()}")  # noqa: S108 - looked at before it is used
    if fallback is not None:
        found.append(fallback)
    return [path for path in found if len(os.fsencode(path)) + len("/0123456789abcdef.sock") <= LONGEST]


def why_not_private(path: str) -> str:
    """Why others than this user may reach what is in there; nothing when they do not."""
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return f"{path} is not a directory of this user"
    return f"others can enter {path}: chmod 700 {path}" if found.st_mode & 0o077 else ""


def python_and_code() -> list[object]:
    """Another opsflow, Python or package has another value."""
    return [sys.executable, sys.version, *_installed(), code_stamp()]


def code_stamp() -> list[int]:
    """Changes when a file of opsflow does: a process that runs older code must not answer for newer."""
    newest = size = count = 0
    for found in _sources(PACKAGE):
        status = found.stat()
        newest, size, count = max(newest, status.st_mtime_ns), size + status.st_size, count + 1
    return [newest, size, count]


def _sources(directory: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                yield from _sources(entry.path)


def _installed() -> Iterator[int]:
    """Changes when a package is installed, updated or removed."""
    for entry in sys.path:
        if entry.endswith("-packages") and os.path.isdir(entry):  # noqa: PTH112
            yield os.stat(entry).st_mtime_ns  # noqa: PTH116


def digest(identity: object) -> str:
    """A short name for plain values."""
    return blake2b(repr(identity).encode(errors="surrogateescape"), digest_size=8).hexdigest()


# ------------------------------------------------------------------------------------------------ prepared processes


def prepared_socket(directory: str, root: str, environment: Mapping[str, str]) -> str:
    """The socket of the prepared process of the project in ``root``; which recipes it uses does not matter."""
    python = {key: value for key, value in environment.items() if key.startswith("PYTHON") or key == "LC_CTYPE"}
    seen = {key: environment.get(key) for key in ENVIRONMENT}
    name = digest([os.path.realpath(root), seen, sorted(python.items()), python_and_code()])
    return f"{directory}/{name}.fork"


def peer(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end of a UNIX socket, where the system tells (SO_PEERCRED)."""
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid
