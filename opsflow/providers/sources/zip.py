"""Reading hostile zip archives: the standard library's reader, behind checks of everything that it believes."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from itertools import pairwise
from typing import IO

from opsflow.errors import SourceError
from opsflow.providers.sources.limits import MIB, Limits
from opsflow.providers.sources.tree import Tree, chunks_of, shown

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
LOCAL_HEADER = 30
LARGEST_DIRECTORY = 16 * MIB
ENCRYPTED = 0x1
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


def read_zip(tree: Tree, file: IO[bytes], size: int, limits: Limits) -> None:
    """Add the files of a zip archive of ``size`` bytes.

    Raises:
        SourceError: something in it is not a plain file or directory, or it is damaged or encrypted.
    """
    _check_directory_size(file, size)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        _refuse_bombs(infos, size, limits)
        _refuse_overlaps(infos)
        for info in infos:
            _check(info)
        for info in infos:
            _add(tree, archive, info)


def _check_directory_size(file: IO[bytes], size: int) -> None:
    """The standard library reads the whole directory into memory: look at its size before."""
    start = max(0, size - END.size - 65535)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < END.size:
        raise SourceError("the zip archive is cut off")
    _, _, _, _, _, directory, _, _ = END.unpack_from(tail, at)
    here = start + at - LOCATOR.size
    if here >= END64.size:
        file.seek(here)
        if file.read(4) == b"PK\6\7":
            file.seek(here - END64.size)
            _, _, _, _, _, _, _, _, directory, _ = END64.unpack(file.read(END64.size))
    if directory > LARGEST_DIRECTORY:
        raise SourceError("the zip archive lists too many files; a bomb?")
    file.seek(0, os.SEEK_SET)


def _refuse_bombs(infos: list[zipfile.ZipInfo], packed: int, limits: Limits) -> None:
    # The library never reads more of a file than its directory says.
    total = sum(info.file_size for info in infos)
    if len(infos) > limits.files or total > limits.bytes:
        raise SourceError(f"it has {len(infos):,} files of {total:,} bytes unpacked; a bomb?")
    if total > max(limits.ratio_from, limits.ratio * packed):
        raise SourceError(f"it unpacks to more than {limits.ratio} times its size; a bomb?")


def _refuse_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    for one, two in pairwise(sorted(infos, key=lambda info: info.header_offset)):
        if two.header_offset < one.header_offset + LOCAL_HEADER + one.compress_size:
            raise SourceError(f"{shown(one.filename)} and {shown(two.filename)} overlap in the zip archive; a bomb?")


def _check(info: zipfile.ZipInfo) -> None:
    name, mode = info.orig_filename, info.external_attr >> 16
    if "\0" in name:
        raise SourceError(f"{shown(name)} has a NUL in its name")
    if info.flag_bits & ENCRYPTED:
        raise SourceError(f"{shown(name)} is encrypted; only plain archives are taken")
    if info.compress_type not in METHODS:
        raise SourceError(f"{shown(name)} is packed with an unknown method ({info.compress_type})")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SourceError(f"{shown(name)} is a link or a device; only plain files and directories are taken")
    if not info.is_dir() and (mode & 0o6000 or stat.S_ISDIR(mode)):
        raise SourceError(f"{shown(name)} is setuid or setgid, or a directory with a content")


def _add(tree: Tree, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    if info.is_dir():
        if info.file_size:
            raise SourceError(f"the directory {shown(info.filename)} has a content")
        tree.add_directory(info.filename)
        return
    with archive.open(info) as content:
        executable = bool(info.external_attr >> 16 & 0o100)
        tree.add_file(info.filename, chunks_of(content, info.file_size), executable=executable)
        # Reading past the end is what makes the library check the content's checksum.
        if content.read(1):
            raise SourceError(f"{shown(info.filename)} is larger than the zip archive says")
