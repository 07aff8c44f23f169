"""What a prepared process has to know of whoever hands a command over, and how it is sent.

Both sides read it; the console script does before anything is imported, so this module imports next to nothing.
"""

from __future__ import annotations

import array
import marshal
import os
import resource
import signal
import socket
import struct
import sys

TYPE_CHECKING = False  # see opsflow/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

READY = b"ready "
"""From the prepared process, with a pid: that process waits to begin."""
GO = b"g"
"""To it: begin. From here on the command has begun, and nobody else may run it."""
EXIT, SIGNAL = b"exit", b"signal"
"""From it, with a number: how the command ended."""
SIGNALS = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
"""Those whose dispositions are carried over."""
LIMITS = tuple(sorted(number for name, number in vars(resource).items() if name.startswith("RLIMIT_")))
FLAGS = (
    "debug", "inspect", "interactive", "optimize", "dont_write_bytecode", "no_user_site", "no_site",
    "ignore_environment", "verbose", "bytes_warning", "isolated", "dev_mode", "utf8_mode",
)  # fmt: skip
NAMESPACES = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup")
LARGEST = 64 * 1024**2


def surroundings() -> list[Any]:
    """What a process cannot change of itself: who has others does not get its command run.

    Raises:
        OSError: this system does not tell.
    """
    root = os.stat("/")  # noqa: PTH116
    return [
        [os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES],  # noqa: PTH115
        [root.st_dev, root.st_ino],
        [*os.getresuid(), *os.getresgid(), *sorted(os.getgroups())],
        [getattr(sys.flags, name) for name in FLAGS],
        list(sys.warnoptions),
        sorted(map(str, sys._xoptions.items())),  # noqa: SLF001
    ]


def own(argv: Sequence[str], blocked: Sequence[int]) -> dict[str, Any]:
    """All of this process that a command may see; ``blocked`` are the signals that it had blocked."""
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "surroundings": surroundings(),
        "name": _name(),
        "argv": [os.fsencode(word) for word in (sys.argv[0], *argv)],
        "environment": list(os.environb.items()),
        "umask": mask,
        "limits": [(number, resource.getrlimit(number)) for number in LIMITS],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": sorted(os.sched_getaffinity(0)),
        "ignored": [int(number) for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN],
        "blocked": [int(number) for number in blocked],
    }


def _name() -> bytes:
    with open("/proc/self/comm", "rb") as file:  # noqa: PTH123 - pathlib is not imported yet
        return file.read().rstrip(b"\n")


def send(sock: socket.socket, request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Send a request with descriptors.

    Raises:
        OSError: the other side does not take it.
    """
    data = marshal.dumps(request)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    sock.sendmsg([struct.pack(">I", len(data))], [rights])
    sock.sendall(data)


def receive(sock: socket.socket, descriptors: int) -> tuple[dict[str, Any], list[int]]:
    """A request with so many descriptors.

    Raises:
        OSError: there is none.
    """
    found = array.array("i")
    space = socket.CMSG_SPACE(descriptors * found.itemsize)
    head, ancillary, _, _ = sock.recvmsg(4, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    size = struct.unpack(">I", head)[0] if len(head) == 4 else LARGEST  # noqa: PLR2004
    if size >= LARGEST or len(found) != descriptors:
        raise OSError("no request")
    body = bytearray()
    while len(body) < size:
        chunk = sock.recv(size - len(body))
        if not chunk:
            raise OSError("no request")
        body += chunk
    return marshal.loads(body), list(found)  # noqa: S302 - from a process of this user, which could do anything anyway
