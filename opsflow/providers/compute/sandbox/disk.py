"""The copy-on-write layer of a sandbox, written before it starts: what it hides and what it changes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from opsflow.errors import ProviderError

PRIVATE = (
    "/root", "/home", "/run", "/mnt", "/media", "/lost+found",
    "/tmp", "/var/tmp",  # noqa: S108 - hidden, not used
    "/etc/kubernetes", "/etc/letsencrypt", "/etc/wireguard", "/etc/NetworkManager/system-connections",
    "/etc/opsflow", "/etc/opsflow-sandbox", "/var/lib/opsflow",
    "/var/lib/cloud", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker", "/var/lib/incus",
    "/var/lib/kubelet", "/var/lib/libvirt", "/var/lib/lxc", "/var/lib/lxd", "/var/lib/machines", "/var/lib/rancher",
    "/var/backups", "/var/log/journal", "/var/mail", "/var/spool/cron", "/var/spool/mail",
)  # fmt: skip
"""Directories of this machine that a sandbox sees empty: people's files, credentials, other machines' disks."""


class Disk:
    """The files of one sandbox over its base (``lower``)."""

    def __init__(self, directory: Path, lower: Path) -> None:
        self.directory = directory
        self.lower = lower
        self.image = directory / "disk.img"
        """A file system of its own for the layers; where there is none, the layers are in the directory itself."""

    @property
    def layers(self) -> Path:
        """Where the layers are; with an image, for those for whom it is mounted."""
        return self.directory / "disk" if self.image.exists() else self.directory

    @property
    def upper(self) -> Path:
        """What the sandbox has changed."""
        return self.layers / "upper"

    @property
    def exists(self) -> bool:
        """Whether there is anything of it, mounted or not."""
        return self.image.exists() or self.upper.is_dir()

    def clear(self) -> None:
        """Remove all of it. The directory itself stays: it is the claim on its place."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def lay_out(self) -> None:
        """Make an empty layer, after :meth:`clear`."""
        (self.directory / "root").mkdir(mode=0o755)
        for name in ("upper", "work"):
            (self.layers / name).mkdir(mode=0o755)
        _copy_owner(self.lower, self.upper)

    def delete(self) -> None:
        """Remove every file of it."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file that hides the one below; written whole or, after a crash, written again after :meth:`clear`."""
        target = self._above(path)
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)

    def read(self, path: str) -> str | None:
        """The text of a file as the sandbox sees it; None when there is none.

        A link is not followed: the sandbox made it, and it would lead to a file of this machine.
        """
        where = locate(self.lower, path)
        for layer in (self.upper, self.lower):
            file = layer / where
            if file.is_file() and file.resolve() == layer.resolve() / where:
                return file.read_text(errors="surrogateescape")
        return None

    def remove(self, path: str) -> None:
        """Hide a file of the base."""
        if os.path.lexists(self.lower / locate(self.lower, path)):
            target = self._above(path)
            target.unlink(missing_ok=True)
            os.mknod(target, stat.S_IFCHR | 0o000, os.makedev(0, 0))  # overlayfs' mark for "deleted"

    def empty(self, path: str) -> None:
        """Show an empty directory where the base has a full one."""
        where = locate(self.lower, path, last=True)
        below = self.lower / where
        if where != Path() and below.is_dir() and not self._hidden(where):
            target = self._above(str(where))
            target.mkdir(exist_ok=True)
            _copy_owner(below, target)
            os.setxattr(target, "trusted.overlay.opaque", b"y")

    def hide(self, paths: Iterable[Path]) -> None:
        """Hide directories that are inside the base, whatever they hold."""
        for path in paths:
            real = path.resolve()
            if real.is_relative_to(self.lower) and real != self.lower:
                self.empty(str(real.relative_to(self.lower)))

    def _hidden(self, where: Path) -> bool:
        parents = [self.upper / parent for parent in where.parents if parent != Path()]
        return any(parent.is_dir() and _opaque(parent) for parent in parents)

    def _above(self, path: str) -> Path:
        """Where the path is in the upper layer; its parents get the base's owner and mode.

        A link that the sandbox put in the place of a parent is removed: written through it, a file of this machine
        would change.
        """
        where = locate(self.lower, path)
        for parent in reversed(where.parents):
            above, below = self.upper / parent, self.lower / parent
            if above.is_symlink() or (above.exists() and not above.is_dir()):
                above.unlink()
            if not above.is_dir():
                above.mkdir(mode=0o755)
                if below.is_dir():
                    _copy_owner(below, above)
        return self.upper / where


def locate(base: Path, path: str, *, last: bool = False) -> Path:
    """Where a path leads inside ``base`` as its root, relative to it; links are followed, with ``last`` also the last.

    Raises:
        ProviderError: its links go round in circles.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    for _ in range(1000):
        if not todo:
            return Path(*done)
        part = todo.pop()
        here = base.joinpath(*done, part)
        if part == "..":
            done = done[:-1]
        elif part not in {"", "."} and here.is_symlink() and (last or any(todo)):
            aim = str(here.readlink())
            done = [] if aim.startswith("/") else done
            todo += aim.split("/")[::-1]
        elif part not in {"", "."}:
            done.append(part)
    raise ProviderError(f"{base}: the links of {path} go round in circles")


def _copy_owner(source: Path, target: Path) -> None:
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(stat.S_IMODE(status.st_mode))


def _opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False
