"""Where the copy-on-write layers of sandboxes can be: overlayfs does not accept every file system."""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.locks import locked
from opsflow.providers.compute.sandbox.disk import Disk
from opsflow.providers.compute.sandbox.spawn import spawn

TRIAL = ".trial"


class Places:
    """Finds a directory whose file system works: the project's own, else memory (a tmpfs on it).

    The tmpfs is the only mount that is visible outside sandboxes; :meth:`clean` takes it away with the last one.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._machines = directory / "machines"
        self._lock = directory / "places.lock"
        self._clock = clock
        self._works = False

    def directory(self, token: str) -> Path:
        """Where the files of a sandbox are."""
        return self._machines / token

    def claim(self, token: str) -> Path:
        """Make that directory on a file system that was tried with a real overlay.

        Raises:
            CapabilityError: this system cannot run sandboxes, and why.
        """
        with self._locked() as lock:
            self._ready(lock)
            directory = self.directory(token)
            directory.mkdir(mode=0o700, exist_ok=True)
            return directory

    def check(self) -> None:
        """Try it without claiming anything.

        Raises:
            CapabilityError: this system cannot run sandboxes, and why.
        """
        with self._locked() as lock:
            self._works = False
            try:
                self._ready(lock)
            finally:
                self._clean()

    def clean(self) -> None:
        """Remove what is left when no sandbox is."""
        with self._locked():
            self._clean()

    def _locked(self) -> AbstractContextManager[int]:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locked(self._lock, self._clock)

    def _ready(self, lock: int) -> None:
        if self._works and self._machines.is_dir():
            return
        self._machines.mkdir(mode=0o700, exist_ok=True)
        try:
            self._try(lock)
        except CapabilityError as error:
            if "mount overlay" not in error.message or os.path.ismount(self._machines):
                raise
            self._mount_memory(error, lock)
        self._works = True

    def _clean(self) -> None:
        if not self._machines.exists() or any(path.name != TRIAL for path in self._machines.iterdir()):
            return
        Disk(self._machines / TRIAL, Path("/")).delete()  # of somebody who died while trying
        if os.path.ismount(self._machines):
            done = subprocess.run(["umount", self._machines], check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise ProviderError(f"{self._machines} cannot be unmounted: {done.stderr.strip()}")
        self._machines.rmdir()

    def _try(self, lock: int) -> None:
        trial = Disk(self._machines / TRIAL, Path("/"))
        trial.reset()
        try:
            process = spawn(trial.directory, lower=trial.lower, hostname="trial", init=["/bin/true"], lock=lock)
            process.end(grace=0)
        finally:
            trial.delete()

    def _mount_memory(self, why: CapabilityError, lock: int) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "mode=0700", "opsflow-sandbox", str(self._machines)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise CapabilityError(f"{why.message}; and no tmpfs: {done.stderr.strip()}", hint=why.hint) from why
        try:
            self._try(lock)
        except CapabilityError:
            subprocess.run(["umount", self._machines], check=False, capture_output=True)
            raise
