"""The command line of the system's ssh for one machine: its recorded host key or nothing, no settings of the user."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from opsflow.errors import UsageError

if TYPE_CHECKING:
    from opsflow.model.compute import Ssh
    from opsflow.model.machine import Machine

_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]*[A-Za-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?")
_HOST_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]{12,}=*")


def arguments(machine: Machine, ssh: Ssh, known_hosts: Path, remote: str) -> list[str]:
    """The argv of ssh for ``machine``; writes the known_hosts file that it names.

    Raises:
        UsageError: the machine has no host key on record, or its data do not look like an address or a key.
    """
    address = machine.address or ""
    if not _ADDRESS.fullmatch(address) or not _USER.fullmatch(machine.user):
        raise UsageError(f"'{machine.user}@{address}' is not a user and an address that ssh may be given")
    write_known_hosts(machine, known_hosts)
    key = machine.key_file or ssh.key
    options = {
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "HostKeyAlias": _alias(machine),
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PasswordAuthentication": "no",
        "IdentitiesOnly": "yes" if key else "no",
    }
    argv = ["ssh", "-F", "none", "-p", str(machine.port), "-l", machine.user]
    argv += ["-i", str(Path(key).expanduser())] if key else []
    for name, value in options.items():
        argv += ["-o", f'{name}="{value}"' if " " in value else f"{name}={value}"]
    return [*argv, "--", address, *([remote] if remote else [])]


def write_known_hosts(machine: Machine, file: Path) -> None:
    """Write the machine's host keys, and nothing else, to a file that only this user can read."""
    keys = [key for key in machine.host_keys if _HOST_KEY.fullmatch(" ".join(key.split()[:2]))]
    if not keys:
        raise UsageError(
            f"no host key of {machine.address} is on record, so it cannot be told from an impostor",
            hint="opsflow status shows whether its machine runs",
        )
    text = "".join(f"{_alias(machine)} {' '.join(key.split()[:2])}\n" for key in keys)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
    temporary.replace(file)


def _alias(machine: Machine) -> str:
    return f"[{machine.address}]:{machine.port}"
