"""known_hosts files: which keys a machine may show."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from opsflow.errors import ProviderError
from opsflow.providers.compute.static.public_keys import public_key


@dataclass(frozen=True, slots=True)
class _Line:
    """What a line says: whose key it is, and whether it is revoked."""

    patterns: tuple[str, ...]
    key: str
    revoked: bool


def lookup(files: Iterable[Path], address: str, port: int) -> tuple[str, ...]:
    """The keys for a machine in the first file that has some; revoked ones never count.

    Raises:
        ProviderError: a file is there and cannot be read.
    """
    name = known_as(address, port)
    for file in files:
        lines = [line for line in _read(file) if _means(line.patterns, name)]
        revoked = {line.key for line in lines if line.revoked}
        keys = dict.fromkeys(line.key for line in lines if not line.revoked)
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


def _read(file: Path) -> tuple[_Line, ...]:
    try:
        status = file.stat()
        return _parsed(file, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ProviderError(f"{file} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=8)
def _parsed(file: Path, version: tuple[int, ...]) -> tuple[_Line, ...]:
    """A file in one version: every machine of an inventory is looked up in it."""
    return tuple(_lines(file.read_text(errors="replace")))


def _lines(text: str) -> Iterator[_Line]:
    """Each line that names a key; ``@cert-authority`` and what is damaged names none, as for OpenSSH."""
    for line in text.splitlines():
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        if key := public_key(fields[1], fields[2]):
            yield _Line(tuple(fields[0].split(",")), key, revoked=bool(marker))


def _means(patterns: Iterable[str], name: str) -> bool:
    """As OpenSSH matches: hashed or literal names, ``*`` and ``?``; a ``!pattern`` that fits forbids."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!") and _fits(pattern[1:], name):
            return False
        found = found or _fits(pattern, name)
    return found


def _fits(pattern: str, name: str) -> bool:
    if pattern.startswith("|"):
        return _hashes(pattern, name)
    # Brackets stand for themselves here, in fnmatch they do not.
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def _hashes(pattern: str, name: str) -> bool:
    """Whether ``|1|salt|digest`` was made from that name."""
    try:
        _, method, salt, digest = pattern.split("|")
        made = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
        return method == "1" and made == base64.b64decode(digest, validate=True)
    except ValueError:
        return False
