"""Reading hostile tar archives.

Not the standard library's ``tarfile``: in the Python versions that we run on it can be made to loop for ever or to take
all memory (CVE-2025-8194, CVE-2024-6232). This reader knows regular files and directories, and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from opsflow.errors import SourceError
from opsflow.providers.sources.tree import Readable, shown

BLOCK = 512
LONG_NAME = 16 * 1024
"""Bytes of an extended header: much more than any path that is accepted."""

TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file",
}
FILE, DIRECTORY, GNU_NAME, GNU_LINK, PAX, PAX_GLOBAL = b"0", b"5", b"L", b"K", b"x", b"g"


@dataclass(frozen=True, slots=True)
class Member:
    """One member; its content follows in the stream and must be read before the next member."""

    name: str
    size: int
    directory: bool
    executable: bool


@dataclass
class _Extension:
    """What extended headers say about the member after them."""

    name: bytes | None = None
    size: int | None = None
    records: dict[bytes, bytes] = field(default_factory=dict)


def members(stream: Readable) -> Iterator[Member]:
    """The members, in order; the reader of each consumes its content from ``stream``.

    Raises:
        SourceError: a member is not a regular file or directory, or the archive is damaged.
    """
    extension = _Extension()
    first = True
    while (header := _header(stream, first)) is not None:
        first = False
        kind, size = _kind(header), _number(header[124:136])
        if kind in (GNU_NAME, GNU_LINK, PAX, PAX_GLOBAL):
            _extend(extension, kind, _small(stream, size))
            continue
        member = _member(header, kind, size, extension)
        extension = _Extension()
        yield member
        _exactly(stream, -member.size % BLOCK)


def _header(stream: Readable, first: bool) -> bytes | None:
    header = stream.read(BLOCK)
    if not first and (not header or header == bytes(BLOCK)):
        return None
    if len(header) < BLOCK:
        raise SourceError("the archive is cut off" if header or not first else "the archive is empty")
    if header == bytes(BLOCK):
        return None
    unsigned = sum(header[:148]) + 8 * 32 + sum(header[156:])
    if _number(header[148:156]) != unsigned:
        raise SourceError("it is not a tar archive" if first else "the archive is damaged: a checksum does not match")
    return header


def _kind(header: bytes) -> bytes:
    kind = header[156:157]
    if kind in (b"\0", b"7"):
        kind = FILE
    # Before POSIX a directory was a file whose name ends with a slash.
    return DIRECTORY if kind == FILE and _text(header[:100]).endswith(b"/") else kind


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:
        if raw[0] != 0x80:
            raise SourceError("the archive is damaged: a negative or absurd number")
        return int.from_bytes(raw[1:], "big")
    text = _text(raw).strip()
    if not text:
        return 0
    if not set(text) <= set(b"01234567"):
        raise SourceError("the archive is damaged: a number is not octal")
    return int(text, 8)


def _small(stream: Readable, size: int) -> bytes:
    if size > LONG_NAME:
        raise SourceError("the archive has an extended header of absurd size")
    data = _exactly(stream, size)
    _exactly(stream, -size % BLOCK)
    return data


def _exactly(stream: Readable, size: int) -> bytes:
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise SourceError("the archive is cut off")
    return data


def _extend(extension: _Extension, kind: bytes, data: bytes) -> None:
    if kind == GNU_NAME:
        extension.name = _text(data)
    elif kind == PAX:
        extension.records |= dict(_records(data))
    elif kind == PAX_GLOBAL:
        _refuse_sparse(dict(_records(data)))


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The ``length key=value`` records of a pax header."""
    while data.strip(b"\0"):
        digits, space, _ = data[:20].partition(b" ")
        if not space or not digits.isdigit():
            raise SourceError("the archive is damaged: an extended header is not readable")
        length = int(digits)
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or length < len(digits) + 3:
            raise SourceError("the archive is damaged: an extended header is not readable")
        yield key, value[:-1]


def _refuse_sparse(records: dict[bytes, bytes]) -> None:
    if any(key.startswith((b"GNU.sparse", b"SCHILY.realsize")) for key in records):
        raise SourceError("the archive has a sparse file; only plain files and directories are taken")


def _member(header: bytes, kind: bytes, size: int, extension: _Extension) -> Member:
    name = _name(header, extension)
    _refuse_sparse(extension.records)
    if kind not in (FILE, DIRECTORY):
        what = TYPES.get(kind, f"of the unknown type {kind!r}")
        raise SourceError(f"{shown(name)} is {what}; only plain files and directories are taken")
    size = _pax_size(extension.records, size)
    mode = _number(header[100:108])
    if kind == FILE and mode & 0o6000:
        raise SourceError(f"{shown(name)} is setuid or setgid")
    if kind == DIRECTORY and size:
        raise SourceError(f"the directory {shown(name)} has a content")
    return Member(name, size, kind == DIRECTORY, bool(mode & 0o100))


def _name(header: bytes, extension: _Extension) -> str:
    name = extension.records.get(b"path", extension.name)
    if name is None:
        name = _text(header[:100])
        prefix = _text(header[345:500])
        if header[257:263] == b"ustar\0" and prefix:
            name = prefix + b"/" + name
    if not name:
        raise SourceError("a file has no name")
    return name.decode("utf-8", "surrogateescape")


def _pax_size(records: dict[bytes, bytes], size: int) -> int:
    text = records.get(b"size")
    if text is None:
        return size
    if not text.isdigit() or len(text) > 19:
        raise SourceError("the archive is damaged: a size is not a number")
    return int(text)
