"""Notes what recipes read on the controller while a plan is made, and whether they did more than read.

Python reports most of it by audit events; asking whether a file exists is not among them, so `os.stat` is replaced.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

from opsflow.engine.stamps import stamp

READING = frozenset({"open", "os.listdir", "os.scandir", "glob.glob"})
IMPURE = frozenset({
    "subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.spawn",
    "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "ctypes.dlopen",
})  # fmt: skip
UNSTABLE = ("/proc/", "/sys/", "/dev/")
"""Files that say something else each time."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Inputs:
    """The notes of one plan."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self._ignored = (*ignored, *_INSTALLED)
        self.files: dict[str, str] = {}
        self.pure = True
        """Nothing was done but reading files."""

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event."""
        if name in IMPURE:
            self.pure = False
        elif name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.pure = self.pure and arguments[0] == os.devnull
        elif arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            self.read(arguments[0])

    def read(self, name: str | bytes | os.PathLike[Any]) -> None:
        """Note a file as it is now, which is before it is read."""
        path = os.path.abspath(os.fsdecode(name))  # noqa: PTH100 - hot, and keeps '..' of links out
        if path.startswith(UNSTABLE):
            self.pure = self.pure and path == os.devnull
        elif path not in self.files and not f"{path}/".startswith(self._ignored):
            self.files[path] = stamp(path)


_INSTALLED = tuple({
    f"{os.path.realpath(directory)}/"
    for directory in (
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(os.path.dirname(__file__)),  # noqa: PTH120 - hot
    )
})  # fmt: skip
"""Covered by the program's own stamp."""

_current: Inputs | None = None
_busy = False


def watch() -> None:
    """Install the notes in this process, once; nothing is noted until :func:`note`."""
    sys.addaudithook(_hook)
    for name in ("stat", "lstat", "access"):
        setattr(os, name, _noting(getattr(os, name)))


def note(inputs: Inputs | None) -> None:
    """Note for this plan from now on; for None, stop."""
    global _current  # noqa: PLW0603 - an audit hook belongs to the process
    _current = inputs


def _hook(name: str, arguments: tuple[Any, ...]) -> None:
    global _busy  # noqa: PLW0603
    if _current is not None and not _busy and (name in READING or name in IMPURE):
        _busy = True
        try:
            _current.event(name, arguments)
        finally:
            _busy = False


def _noting(function: Callable[..., Any]) -> Callable[..., Any]:
    def noting(path: Any, *more: Any, **named: Any) -> Any:
        if _current is not None and isinstance(path, str | bytes | os.PathLike) and named.get("dir_fd") is None:
            _current.read(path)
        return function(path, *more, **named)

    return noting
