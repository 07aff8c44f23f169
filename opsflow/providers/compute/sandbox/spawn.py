"""Starting sandboxes: runs the launcher and turns what it says into an answer or an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.sandbox import launcher, rootfs
from opsflow.providers.compute.sandbox.cgroups import Group
from opsflow.providers.compute.sandbox.disk import Disk
from opsflow.providers.compute.sandbox.processes import Process

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
"""All that a sandbox's first process gets: nothing of the caller's environment, which may hold secrets."""

SECONDS = 60.0

PROCESS_FILE = "process.json"
LOG_FILE = "sshd.log"


def spawn(
    disk: Disk,
    *,
    hostname: str,
    init: Sequence[str],
    cgroups: Sequence[Group] = (),
    lock: int | None = None,
) -> Process:
    """Start the sandbox of that disk; returns when its first process runs.

    The launcher inherits ``lock``, the descriptor of the sandbox's lock, so that somebody who comes after the death
    of this process waits until the sandbox is on record.

    Raises:
        CapabilityError: this system does not let us; the message is the kernel's.
        ProviderError: it takes for ever.
    """
    spec = {
        "root": rootfs.ROOT,
        "hostname": hostname,
        "steps": rootfs.steps(disk.lower, str(disk.layers.relative_to(disk.directory))),
        "read_only": rootfs.READ_ONLY,
        "record": PROCESS_FILE,
        "log": LOG_FILE,
        "cgroups": [(str(group.path), group.required) for group in cgroups],
        "init": list(init),
        "environment": ENVIRONMENT,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", launcher.__file__],
            input=json.dumps(spec),
            capture_output=True,
            text=True,
            cwd=disk.directory,
            env=ENVIRONMENT,
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(f"a sandbox did not start within {SECONDS:.0f} s") from error
    process = Process.read(disk.directory / PROCESS_FILE)
    if done.returncode != 0 or process is None:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        raise CapabilityError(f"a sandbox could not be started: {reason}", hint=advice(reason))
    return process


def advice(reason: str) -> str:
    """What to do where the kernel refuses."""
    if "Operation not permitted" in reason:
        return (
            "Root with all capabilities is needed: in a container, start it with --privileged. "
            "Or use your own machines: compute: {provider: static}."
        )
    if "mount overlay" in reason:
        return "The kernel needs overlayfs (modprobe overlay), and a file system that can hold its upper layer."
    return "Use your own machines instead: compute: {provider: static}."
