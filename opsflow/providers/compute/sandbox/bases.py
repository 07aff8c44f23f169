"""What a sandbox's root is made of: this machine's own root, a directory, or a tarball that is unpacked once."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.locks import locked
from opsflow.providers.compute.sandbox import identity
from opsflow.providers.compute.sandbox.disk import locate

MACHINE = Path("/")
SYSTEM = ("/etc", "/usr", "/var", "/var/lib")
"""What a machine cannot do without; an overlay does not show what is mounted below its base."""


def check_system() -> None:
    """Whether sandboxes can be thought of at all.

    Raises:
        CapabilityError: not Linux, or not root.
    """
    own = "Or use your own machines: compute: {provider: static}."
    if sys.platform != "linux":
        raise CapabilityError(f"sandboxes need Linux; this is {sys.platform}", hint=own)
    if os.geteuid() != 0:
        raise CapabilityError(
            "sandboxes need root: they are made of namespaces and mounts", hint=f"Run opsflow with sudo. {own}"
        )


def check_base(base: Path) -> None:
    """Whether the directory can be the root of a sandbox.

    Raises:
        CapabilityError: this machine's own root lacks something.
        ProviderError: a root that the user gave does.
    """
    missing = [path for path in (identity.SSHD, "/bin/sh") if not _executable(base, path)]
    if missing and base == MACHINE:
        raise CapabilityError(
            "sandboxes need the OpenSSH server, which is not installed here", hint="Run: apt-get install openssh-server"
        )
    if missing:
        raise ProviderError(
            f"compute/options/root: {base} has no {missing[0]}",
            hint="Install openssh-server in it before it is used as a root.",
        )
    if base == MACHINE and (apart := [path for path in SYSTEM if os.path.ismount(path)]):
        raise CapabilityError(
            f"sandboxes cannot share this machine's root: {', '.join(apart)} is a file system of its own "
            "and would be empty in them",
            hint="Give them a root: compute: {provider: sandbox, options: {root: DIRECTORY or TARBALL}}.",
        )


def unpacked(root: Path, cache: Path, clock: Clock) -> Path:
    """The directory that stands for ``root``; a tarball is unpacked the first time and whenever it changed.

    Raises:
        ProviderError: there is no such root, or the archive is damaged or not safe.
    """
    if root.is_dir():
        return root
    if not root.is_file():
        raise ProviderError(
            f"compute/options/root: there is no {root}",
            hint="Name a directory or a tarball with a Debian or Ubuntu root in it.",
        )
    status = root.stat()
    key = hashlib.sha256(f"{root}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = cache / key
    with locked(cache / "unpack.lock", clock):
        if not target.is_dir():
            _unpack(root, target)
    return target


def _unpack(archive: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o755)
    try:
        with tarfile.open(archive) as tar:
            _extract(tar, os.path.realpath(partial))
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ProviderError(f"compute/options/root: {archive} cannot be unpacked: {error}") from error
    partial.rename(target)


# tarfile's own filters are not in every 3.11 (Debian 12 has 3.11.2), so what a member may do is checked here.
_UNFILTERED: Any = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def _extract(tar: tarfile.TarFile, target: str) -> None:
    """Nothing outside the target, no devices (a sandbox has its own); modes as in the archive, setuid included."""
    for member in tar:
        if member.ischr() or member.isblk() or member.isfifo():
            continue
        member.name = _inside(target, member.name)
        if member.islnk():
            member.linkname = _inside(target, member.linkname)
        tar.extract(member, target, numeric_owner=True, **_UNFILTERED)


def _inside(target: str, name: str) -> str:
    """The name relative to the target; links that were unpacked before are followed."""
    relative = name.lstrip("/")
    path = os.path.realpath(f"{target}/{relative}")
    if path != target and not path.startswith(target + os.sep):
        raise tarfile.TarError(f"{name} would be written outside of it")
    return relative


def _executable(base: Path, path: str) -> bool:
    program = base / locate(base, path, last=True)
    return program.is_file() and os.access(program, os.X_OK)
