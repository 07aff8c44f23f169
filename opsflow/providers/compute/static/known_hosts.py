"""known_hosts files: which keys a machine may show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey
from paramiko.ssh_exception import SSHException

from opsflow.errors import ProviderError


def lookup(files: Iterable[Path], address: str, port: int) -> tuple[str, ...]:
    """The keys for a machine in the first file that has some; revoked ones never count.

    Raises:
        ProviderError: a file is there and cannot be read.
    """
    name = known_as(address, port)
    for file in files:
        lines = list(_lines(file))
        revoked = set(_keys((rest for marker, rest in lines if marker == "@revoked"), name))
        keys = dict.fromkeys(_keys((rest for marker, rest in lines if not marker), name))
        if found := tuple(key for key in keys if key not in revoked):
            return found
    return ()


def remember(file: Path, address: str, port: int, key: str) -> None:
    """Add a key that was seen for the first time."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{known_as(address, port)} {key}\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode())  # one write: a line is there whole or not at all
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def known_as(address: str, port: int) -> str:
    """How known_hosts files write a machine: ``name``, or ``[name]:port`` for another port than 22."""
    return address if port == 22 else f"[{address}]:{port}"


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Marker (``@revoked``, ``@cert-authority`` or nothing) and the rest of each line."""
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ProviderError(f"{file} cannot be read: {error.strerror}") from error
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
            yield marker, rest.strip()


def _keys(lines: Iterable[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            entry = HostKeyEntry.from_line(line, number)
        except (InvalidHostKey, SSHException):  # damaged: it knows no machine, as for OpenSSH
            continue
        if entry and entry.key and _means(entry.hostnames or (), name):
            yield f"{entry.key.get_name()} {entry.key.get_base64()}"


def _means(patterns: Iterable[str], name: str) -> bool:
    """As OpenSSH matches: hashed or literal names, ``*`` and ``?``; a ``!pattern`` that fits forbids."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!") and _fits(pattern[1:], name):
            return False
        found = found or _fits(pattern, name)
    return found


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return HostKeys.hash_host(name, pattern) == pattern
    # Brackets stand for themselves here, in fnmatch they do not.
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
