"""Archives as apps: what is unpacked is the copy whose checksum was verified, and it is never unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from opsflow.errors import SourceError
from opsflow.providers.sources.limits import MIB, Limits
from opsflow.providers.sources.tar import members
from opsflow.providers.sources.tree import CHUNK, Readable, Tree, chunks_of
from opsflow.providers.sources.zip import read_zip

XZ_MEMORY = 256 * MIB
"""What unpacking may take; `xz -9` needs 65 MiB, a hostile header asks for gigabytes."""
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


def copy_archive(source: Path, copy: IO[bytes], limits: Limits) -> str:
    """Copy a file of this machine; returns the SHA-256 of what was copied.

    Raises:
        SourceError: there is no such file, or it is too large.
    """
    if not source.is_file():
        raise SourceError(f"there is no file {source}")
    with source.open("rb") as stream:
        return copy_stream(iter(lambda: stream.read(CHUNK), b""), copy, limits)


def copy_stream(chunks: Iterator[bytes], copy: IO[bytes], limits: Limits) -> str:
    """Copy pieces up to the size limit; returns their SHA-256."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > limits.archive:
            raise SourceError(f"the archive is larger than {limits.archive:,} bytes")
        digest.update(chunk)
        copy.write(chunk)
    return digest.hexdigest()


def read_archive(tree: Tree, file: IO[bytes], limits: Limits) -> None:
    """Add the files of a tar (plain, gz, bz2, xz) or zip archive, without the one directory around them.

    Raises:
        SourceError: it is no such archive, it is damaged, or something in it cannot be deployed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    try:
        if magic[:4] in (b"PK\3\4", b"PK\5\6"):
            read_zip(tree, file, size, limits)
        else:
            with _unpacked(file, magic) as stream:
                _read_tar(tree, _Metered(stream, size, limits))
    except DAMAGED as error:
        raise SourceError(f"the archive is damaged or cut off: {error}") from error
    tree.without_top()


@contextmanager
def _unpacked(file: IO[bytes], magic: bytes) -> Iterator[Readable]:
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    elif magic[:3] == b"BZh":
        with bz2.BZ2File(file) as stream:
            yield stream
    elif magic[:6] == b"\xfd7zXZ\0":
        with io.BufferedReader(_Xz(file), CHUNK) as stream:  # type: ignore[type-var]
            yield stream
    elif magic[:4] == b"\x28\xb5\x2f\xfd":
        raise SourceError("zstd archives are not supported; pack it as .tar.gz or .tar.xz")
    else:
        yield file


def _read_tar(tree: Tree, stream: _Metered) -> None:
    for member in members(stream):
        if member.directory:
            tree.add_directory(member.name)
        else:
            tree.add_file(member.name, chunks_of(stream, member.size), executable=member.executable)
    # To the end, so that an archive that is cut off there is noticed too.
    while stream.read(CHUNK):
        pass


class _Metered:
    """An unpacked stream that ends with an error when it turns out to be a bomb."""

    def __init__(self, stream: Readable, packed: int, limits: Limits) -> None:
        self._stream = stream
        self._read = 0
        # Each file costs some headers beside its content.
        self._most = limits.bytes + limits.files * 2048
        self._allowed = max(limits.ratio_from, limits.ratio * packed)
        self._ratio = limits.ratio

    def read(self, size: int) -> bytes:
        """As of a file."""
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > self._most:
            raise SourceError(f"it is larger than {self._most:,} bytes unpacked; a bomb?")
        if self._read > self._allowed:
            raise SourceError(f"it unpacks to more than {self._ratio} times its size; a bomb?")
        return data


class _Xz(io.RawIOBase):
    """An unpacked .xz stream that cannot take much memory, which :class:`lzma.LZMAFile` cannot promise."""

    def __init__(self, below: IO[bytes]) -> None:
        self._below = below
        self._unpack = self._fresh()

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = b""
        while not data:
            if self._unpack.eof:
                rest = (self._unpack.unused_data or self._below.read(CHUNK)).lstrip(b"\0")
                if not rest:
                    return 0
                self._unpack = self._fresh()
            elif self._unpack.needs_input:
                rest = self._below.read(CHUNK)
                if not rest:
                    raise EOFError("the xz stream is cut off")
            else:
                rest = b""
            data = self._unpack.decompress(rest, len(buffer))
        buffer[: len(data)] = data
        return len(data)
