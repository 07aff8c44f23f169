"""Stamps of files: whether what a plan was made of is still the same, without reading it.

A stamp holds the inode, the size and both times to the nanosecond. The time of the last change of the inode cannot be
set by programs, so an edit that keeps size and modification time is noticed, too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec

ABSENT = "absent"
CACHES = frozenset({"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
LARGEST_TREE = 200_000
"""Entries below the recipe paths that are looked at."""


def stamp(path: str | bytes) -> str:
    """The stamp of a file or directory; `absent` when there is none."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return ABSENT
    return _written(found)


_stat = os.stat
"""Taken before planner processes replace it by one that takes notes."""


def _written(found: os.stat_result) -> str:
    return f"{found.st_ino}:{found.st_mode:o}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def tree_stamp(roots: Sequence[str]) -> str:
    """One stamp for everything below the roots: recipes, templates, files, and whatever else is there."""
    digest = hashlib.sha256()
    for root in roots:
        for path, written in _entries(root):
            digest.update(f"{path}\0{written}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _entries(root: str) -> Iterator[tuple[str, str]]:
    waiting = [root]
    left = LARGEST_TREE
    while waiting and left > 0:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            yield directory, ABSENT
            continue
        for entry in entries:
            if entry.name in CACHES:
                continue
            left -= 1
            # Through links: what a template link points to is what the recipe gets.
            yield entry.path, stamp(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def unchanged(inputs: Mapping[str, str]) -> bool:
    """Whether every file still has its stamp."""
    return all(stamp(path) == before for path, before in inputs.items())


@cache
def program() -> str:
    """What makes plans: this program, pyinfra, jinja2 and Python, and that nothing was installed since."""
    packages = [spec.origin or "" for name in ("pyinfra", "jinja2") if (spec := find_spec(name)) is not None]
    paths = sysconfig.get_paths()
    stamps = [stamp(path) for path in (*packages, paths["purelib"], paths["platlib"])]
    ours = tree_stamp([os.path.dirname(__file__)])  # noqa: PTH120 - hot
    return " ".join([platform.python_version(), sys.executable, ours, *packages, *stamps])
