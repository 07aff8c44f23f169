"""Where the copy-on-write layers of sandboxes can be: overlayfs does not accept every file system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.locks import locked
from opsflow.providers.compute.sandbox import images
from opsflow.providers.compute.sandbox.disk import Disk
from opsflow.providers.compute.sandbox.options import Options
from opsflow.providers.compute.sandbox.spawn import spawn

TRIAL = ".trial"
BLANK = Options().disk_bytes
RESERVE = 1 << 30
"""Bytes that must be free before a sandbox starts: a full disk stops more than sandboxes."""


class Places:
    """Finds a directory whose file system works: the project's own, else memory (a tmpfs on it).

    The tmpfs is the only mount that is visible outside sandboxes; :meth:`clean` takes it away with the last one.
    """

    def __init__(self, directory: Path, clock: Clock, free: Callable[[Path], int] | None = None) -> None:
        self._machines = directory / "machines"
        self._lock = directory / "places.lock"
        self._clock = clock
        self._works = False
        self._free = free or (lambda place: shutil.disk_usage(place).free)
        self.unbounded: CapabilityError | None = None
        """Why the disks of sandboxes have no size of their own here; None when they have one, or nobody looked."""

    def directory(self, token: str) -> Path:
        """Where the files of a sandbox are."""
        return self._machines / token

    def claim(self, token: str, size: int) -> Path | None:
        """Make that directory on a file system that was tried with a real overlay; gives a blank disk of ``size``.

        None instead of a disk where this system has no loop devices for us.

        Raises:
            CapabilityError: this system cannot run sandboxes, and why.
            ProviderError: there is hardly any space left.
        """
        with self._locked() as lock:
            self._ready(lock)
            self._check_space()
            self.directory(token).mkdir(mode=0o700, exist_ok=True)
            return None if self.unbounded else self._blank(size)

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
        self._works = self._try_image(lock)
        if self._works:
            return
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
        for blank in self._machines.parent.glob("blank-*"):
            blank.unlink()

    def _blank(self, size: int) -> Path:
        blank = self._machines.parent / f"blank-{size}"
        images.make_blank(blank, size)
        return blank

    def _check_space(self) -> None:
        free = self._free(self._machines)
        if free < RESERVE:
            raise ProviderError(
                f"only {free / 2**30:.1f} GiB are free on the file system of {self._machines}; "
                "below 1 GiB no sandbox is started",
                hint="Free some space, or destroy a stack: opsflow destroy STACK.",
            )

    def _try_image(self, lock: int) -> bool:
        """Try it with a disk of its own, which also works where the file system cannot hold an upper layer."""
        try:
            self._try(lock, self._blank(BLANK))
        except CapabilityError as error:
            self.unbounded = error
            return False
        self.unbounded = None
        return True

    def _try(self, lock: int, blank: Path | None = None) -> None:
        trial = Disk(self._machines / TRIAL, Path("/"))
        trial.clear()

        def start() -> None:
            trial.lay_out()
            spawn(trial, hostname="trial", init=["/bin/true"], lock=lock).end(grace=0)

        try:
            if blank:
                images.copy(blank, trial.image)
                images.mounted(trial.image, trial.layers, self._clock, start)
            else:
                start()
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
