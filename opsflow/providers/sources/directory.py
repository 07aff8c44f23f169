"""A directory on this machine as an app."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from opsflow.errors import SourceError
from opsflow.providers.sources.tree import CHUNK, Tree, shown

EXCLUDED = frozenset({".git", "__pycache__", ".opsflow"})
"""Never part of an app: history, caches, and opsflow's own state with its keys."""


def read_directory(tree: Tree, root: Path, subdirectory: str | None) -> None:
    """Add what lies under ``root``: files, directories, and links that stay inside.

    Raises:
        SourceError: there is no such directory, or something in it cannot be deployed.
    """
    if not root.is_dir():
        raise SourceError(f"there is no directory {root}")
    root = root.resolve()
    start = (root / (subdirectory or ".")).resolve()
    if not start.is_relative_to(root):
        raise SourceError(f"subdirectory '{subdirectory}' is outside of {root}")
    if not start.is_dir():
        raise SourceError(f"subdirectory '{subdirectory}': there is no such directory in it")
    _walk(tree, os.fspath(start), "")


def _walk(tree: Tree, directory: str, prefix: str) -> None:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name in EXCLUDED:
            continue
        path = prefix + entry.name
        if entry.is_symlink():
            tree.add_link(path, os.readlink(entry.path))  # noqa: PTH115 - of a name that was scanned, not of a user's path
        elif entry.is_dir(follow_symlinks=False):
            tree.add_directory(path)
            _walk(tree, entry.path, path + "/")
        else:
            _add_file(tree, entry.path, path)


def _add_file(tree: Tree, source: str, path: str) -> None:
    # A file may be replaced while we read: never follow a link, never wait for a pipe.
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) if _regular(source) else None
    if fd is None:
        raise SourceError(f"{shown(path)} is neither a file nor a directory; it cannot be deployed")
    with open(fd, "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{shown(path)} was replaced while it was read")
        tree.add_file(path, iter(lambda: stream.read(CHUNK), b""), executable=bool(status.st_mode & 0o100))


def _regular(source: str) -> bool:
    return stat.S_ISREG(os.lstat(source).st_mode)
