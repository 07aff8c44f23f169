"""Where bundles are kept: files named after their content."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from opsflow.clock import Clock

DAY = 86400.0
KEEP = 20
"""Bundles that are kept whatever their age."""
UNUSED = 7 * DAY
"""Older bundles go when they were not used for so long."""
LEFTOVER = DAY
"""Age at which what a killed process left behind is removed."""


class Cache:
    """A private directory for bundles, mirrors of repositories and what is needed for the moment."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.bundles = directory / "bundles"
        self.mirrors = directory / "git"
        self._working = directory / "tmp"
        self._clock = clock

    def prepare(self) -> None:
        """Make the directories, private under any umask."""
        for directory in (self.bundles.parent, self.bundles, self.mirrors, self._working):
            if not directory.exists():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                directory.chmod(0o700)

    @contextmanager
    def private_directory(self) -> Iterator[Path]:
        """A directory for this fetch, removed at its end."""
        with tempfile.TemporaryDirectory(dir=self._working) as directory:
            path = Path(directory)
            path.chmod(0o700)
            yield path

    @contextmanager
    def anonymous_file(self) -> Iterator[IO[bytes]]:
        """A file without a name, gone when it is closed or the process dies."""
        with tempfile.TemporaryFile(dir=self._working) as file:
            yield file

    @contextmanager
    def new_bundle(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A file for a bundle; :meth:`keep` gives it its name."""
        fd, name = tempfile.mkstemp(dir=self._working, suffix=".tar.gz")
        path = Path(name)
        try:
            with open(fd, "w+b") as file:  # noqa: PTH123 - a descriptor, not a path
                path.chmod(0o600)
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path, digest: str) -> Path:
        """Give a finished bundle the name of its content; an older file of that name is replaced by the same."""
        target = self.bundles / f"{digest}.tar.gz"
        now = self._clock.now().timestamp()
        os.utime(path, (now, now))
        path.replace(target)
        return target

    def prune(self) -> None:
        """Remove old bundles, and what killed processes left behind."""
        now = self._clock.now().timestamp()
        for path in _newest_first(self.bundles)[KEEP:]:
            _remove_older(path, now - UNUSED)
        for path in self._working.iterdir():
            _remove_older(path, now - LEFTOVER)


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=_used, reverse=True)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_older(path: Path, moment: float) -> None:
    # Another process may prune at the same time.
    if _used(path) < moment:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            path.unlink()
