"""Disks of a fixed size: a sparse file with an ext4 file system for each sandbox, mounted where nobody else sees it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.sandbox import launcher

CONTROL = "/dev/loop-control"
MAJOR = 7
GET_FREE, CONFIGURE, AUTOCLEAR = 0x4C82, 0x4C0A, 4
# struct loop_config: descriptor, block size, loop_info64 (of which only the flags are set), reserved.
CONFIGURATION = struct.Struct("=II 52x I 176x 64x")
SECONDS = 15.0
"""How long the kernel may take to let go of a disk whose sandbox has ended."""

MAKE = ("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")

T = TypeVar("T")


def make_blank(file: Path, size: int) -> None:
    """An empty disk that others are copied from, whole or not at all; nothing when it is there.

    Raises:
        CapabilityError: there is no mkfs.ext4, or it fails.
    """
    if file.exists():
        return
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as image:
            image.truncate(size)
        environment = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
        done = subprocess.run([*MAKE, partial], check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise CapabilityError(f"mkfs.ext4 failed: {done.stderr.strip()}")
        partial.rename(file)
    except FileNotFoundError as error:
        raise CapabilityError("mkfs.ext4 is not installed", hint="Install e2fsprogs.") from error
    finally:
        partial.unlink(missing_ok=True)


def copy(blank: Path, file: Path) -> None:
    """A disk like the blank one; only what is not a hole is copied."""
    with blank.open("rb") as source, file.open("xb") as target:
        file.chmod(0o600)
        for start, end in _filled(source.fileno()):
            os.lseek(target.fileno(), start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(target.fileno(), source.fileno(), start, end - start)
        target.truncate(blank.stat().st_size)


def _filled(descriptor: int) -> Iterator[tuple[int, int]]:
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def mounted(file: Path, target: Path, clock: Clock, work: Callable[[], T]) -> T:
    """Do ``work`` in a thread that has a disk mounted; nobody else sees the mount.

    What is started in there inherits it, so a sandbox keeps its disk. For this process it ends with the thread, also
    when the process is killed.

    Raises:
        CapabilityError: this process may not mount, or the kernel has no loop devices for us.
        ProviderError: something still uses the disk.
    """

    def work_on_it() -> T:
        _mount(file, target, clock)
        return work()

    return _privately(work_on_it)


def _privately(work: Callable[[], T]) -> T:
    """Do ``work`` in a thread with mounts of its own."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            launcher.separate_mounts()
        except OSError as error:
            errors.append(CapabilityError(f"a sandbox could not be started: {error.strerror}"))
            return
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="opsflow-sandbox-mounts")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _mount(file: Path, target: Path, clock: Clock) -> None:
    target.mkdir(mode=0o700, exist_ok=True)
    try:
        with _attached(file, clock) as device:
            launcher.mount(device, str(target), "ext4", ["noatime"], "discard")
    except OSError as error:
        raise CapabilityError(f"a disk cannot be mounted: {error.strerror or error}") from error


@contextmanager
def _attached(file: Path, clock: Clock) -> Iterator[str]:
    """A loop device of the file; it goes away by itself when nothing uses it any more."""
    image = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        _own(image, file, clock)
        device, path = _configured(image, clock)
        try:
            yield path
        finally:
            os.close(device)
    finally:
        os.close(image)


def _own(image: int, file: Path, clock: Clock) -> None:
    """Make sure that no other loop device has the file: two would destroy it.

    The loop device keeps the open file, and with it the lock, until the last mount is gone.
    """
    deadline = clock.monotonic() + SECONDS
    while True:
        try:
            fcntl.flock(image, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > deadline:
                raise ProviderError(f"{file} is still in use by a sandbox that has ended; try again later") from None
            clock.sleep(0.01)
        else:
            return


def _configured(image: int, clock: Clock) -> tuple[int, str]:
    """Find a free loop device and give it the file; somebody else may be faster, then the next one."""
    for _ in range(200):
        with open(CONTROL, "rb+", buffering=0) as control:  # noqa: PTH123 - a device, not a file
            number = fcntl.ioctl(control, GET_FREE)
        path = f"/dev/loop{number}"
        if not os.path.exists(path):  # noqa: PTH110 - in a container nobody makes the nodes of new devices
            with suppress(FileExistsError):
                os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(MAJOR, number))
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, CONFIGURE, CONFIGURATION.pack(image, 0, AUTOCLEAR))
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
            clock.sleep(0.002)
        else:
            return device, path
    raise CapabilityError("no loop device is free")
