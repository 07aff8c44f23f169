"""What an app is made of: a checked set of files, written as a deterministic .tar.gz."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Protocol

from opsflow.errors import SourceError
from opsflow.providers.sources.limits import Limits

CHUNK = 256 * 1024
COMPONENT = 255
"""Bytes of one name, the limit of Linux file systems."""
LINK_HOPS = 40
STRANGE = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:")
"""Control characters, and what Windows takes for a path."""


class Readable(Protocol):
    """A stream that gives as much as is asked for, unless it ends."""

    def read(self, size: int, /) -> bytes:
        """The next ``size`` bytes."""
        ...


class Kind(StrEnum):
    """What an entry is. There is nothing else: no device, no socket, no hard link."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; the content of a file lies in the spool."""

    kind: Kind
    executable: bool = False
    offset: int = 0
    size: int = 0
    target: str = ""


class Tree:
    """Files by path. Nothing is ever written under the names that a source chose.

    Args:
        spool: an anonymous file that takes the contents.
        limits: how much is taken.
        strict: the names come from a stranger: refuse those that another system would take for something else, and
            those that differ in case or Unicode form only.
    """

    def __init__(self, spool: IO[bytes], limits: Limits, *, strict: bool = False) -> None:
        self.entries: dict[str, Entry] = {}
        self._spool = spool
        self._limits = limits
        self._size = 0
        self._strict = strict
        self._folded: dict[str, str] = {}

    def add_directory(self, path: str) -> None:
        """Add a directory; it may be there already."""
        parts = self._checked(path)
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            known = self.entries.get(name)
            if known is None:
                self._put(name, Entry(Kind.DIRECTORY))
            elif known.kind is not Kind.DIRECTORY:
                raise SourceError(f"{shown(name)} is there twice, as a {known.kind} and as a directory")

    def add_file(self, path: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        """Add a file with its content."""
        name = self._new(path)
        offset = self._size
        for chunk in chunks:
            self._size += len(chunk)
            if self._size > self._limits.bytes:
                raise SourceError(f"it is larger than {self._limits.bytes:,} bytes unpacked; a bomb?")
            self._spool.write(chunk)
        self._put(name, Entry(Kind.FILE, executable, offset, self._size - offset))

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link; :meth:`finish` refuses it when it leaves the tree."""
        name = self._new(path)
        if "\0" in target or not target:
            raise SourceError(f"the link {shown(path)} has no usable target")
        self._put(name, Entry(Kind.LINK, target=target))

    def _new(self, path: str) -> str:
        parts = self._checked(path)
        if not parts:
            raise SourceError("a file has no name")
        if len(parts) > 1:
            self.add_directory("/".join(parts[:-1]))
        name = "/".join(parts)
        if name in self.entries:
            raise SourceError(f"{shown(name)} is there twice")
        return name

    def _put(self, name: str, entry: Entry) -> None:
        if len(self.entries) >= self._limits.files:
            raise SourceError(f"it has more than {self._limits.files:,} files; a bomb?")
        if self._strict:
            fold = unicodedata.normalize("NFC", name).casefold()
            other = self._folded.setdefault(fold, name)
            if other != name:
                raise SourceError(f"{shown(other)} and {shown(name)} differ in case or Unicode form only")
        self.entries[name] = entry

    def _checked(self, path: str) -> list[str]:
        """The parts of a path that stays inside."""
        if path.startswith("/"):
            raise SourceError(f"{shown(path)} is an absolute path")
        if "\0" in path:
            raise SourceError(f"{shown(path)} has a NUL in its name")
        if self._strict and (strange := STRANGE.search(path)):
            raise SourceError(f"the name {shown(path)} has a strange character: {shown(strange.group())}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise SourceError(f"{shown(path)} leaves the app with '..'")
        if len(raw(path)) > self._limits.path or any(len(raw(part)) > COMPONENT for part in parts):
            raise SourceError(f"the name {shown(path)} is too long")
        return parts

    def without_top(self) -> None:
        """Drop the one directory that everything lies in, if there is one, as archives of releases have it."""
        tops = {name.partition("/")[0] for name in self.entries}
        if len(tops) == 1 and self.entries[top := tops.pop()].kind is Kind.DIRECTORY:
            self.select(top)

    def select(self, directory: str) -> None:
        """Keep only what lies in ``directory``, with paths relative to it."""
        prefix = "/".join(self._checked(directory))
        if not prefix:
            return
        chosen = self.entries.get(prefix)
        if chosen is None or chosen.kind is not Kind.DIRECTORY:
            raise SourceError(f"subdirectory '{directory}': there is no such directory in it")
        start = len(prefix) + 1
        self.entries = {name[start:]: e for name, e in self.entries.items() if name.startswith(prefix + "/")}

    def finish(self, out: IO[bytes]) -> str:
        """Write the bundle; the same content always gives the same bytes.

        Returns:
            The SHA-256 of the content: of the tar inside the bundle.
        """
        if not any(entry.kind is Kind.FILE for entry in self.entries.values()):
            raise SourceError("there is no file in it")
        for name, entry in self.entries.items():
            if entry.kind is Kind.LINK:
                self._refuse_leaving(name, entry.target)
        digest = hashlib.sha256()
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as packed,
            tarfile.open(fileobj=_Digesting(packed, digest), mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for name in sorted(self.entries, key=lambda name: raw(name).split(b"/")):
                self._write(archive, name, self.entries[name])
        return digest.hexdigest()

    def _write(self, archive: tarfile.TarFile, name: str, entry: Entry) -> None:
        header = tarfile.TarInfo(name)
        header.mode = 0o755 if entry.executable or entry.kind is Kind.DIRECTORY else 0o644
        if entry.kind is Kind.FILE:
            header.size = entry.size
            self._spool.seek(entry.offset)
            archive.addfile(header, self._spool)
            return
        header.type = tarfile.DIRTYPE if entry.kind is Kind.DIRECTORY else tarfile.SYMTYPE
        header.linkname = entry.target
        archive.addfile(header)

    def _refuse_leaving(self, name: str, target: str) -> None:
        """Follow a link through the links of this tree, as a kernel would."""
        todo = [*reversed(target.split("/"))]
        here = name.split("/")[:-1]
        hops = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not here:
                    break
                here.pop()
                continue
            here.append(part)
            step = self.entries.get("/".join(here))
            if step and step.kind is Kind.LINK:
                hops += 1
                if hops > LINK_HOPS or step.target.startswith("/"):
                    break
                here.pop()
                todo += reversed(step.target.split("/"))
        else:
            if not target.startswith("/"):
                return
        raise SourceError(
            f"the link {shown(name)} points outside the app, to {shown(target)}; "
            "only relative links that stay inside can be deployed"
        )


class _Digesting(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, below: IO[bytes] | gzip.GzipFile, digest: hashlib._Hash) -> None:
        self._below = below
        self._digest = digest
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._digest.update(data)
        self._below.write(data)
        self._position += len(data)
        return len(data)


def raw(text: str) -> bytes:
    """A name as the bytes that it has on disk."""
    return text.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A name that an error can show: printable and short."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)
    return f"'{text}'" if len(text) <= 100 else f"'{text[:60]}...{text[-30:]}'"


def chunks_of(stream: Readable, size: int) -> Iterator[bytes]:
    """``size`` bytes of a stream in pieces.

    Raises:
        EOFError: it ends before.
    """
    while size > 0:
        chunk = stream.read(min(CHUNK, size))
        if not chunk:
            raise EOFError("it ends in the middle of a file")
        size -= len(chunk)
        yield chunk
