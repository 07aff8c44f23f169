"""App sources: archives, also hostile ones."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsflow.clock import ManualClock
from opsflow.errors import SourceError
from opsflow.model.app import App
from opsflow.ports import Bundle
from opsflow.providers.sources import Limits, Sources

FILES = {"web/app.py": b"print('hello')\n", "web/static/a.css": b"body {}", "web/run.sh": b"#!/bin/sh\n"}
SMALL = Limits(files=50, bytes=2_000_000, ratio=100, ratio_from=500_000, archive=5_000_000)


def app(archive: str = "evil", **more: object) -> App:
    return App.model_validate({"layers": ("app",), "source": {"archive": archive, **more}})


def content(bundle: Bundle) -> dict[str, bytes | None]:
    with tarfile.open(bundle.path) as archive:
        return {
            member.name: archive.extractfile(member).read() if member.isfile() else None  # type: ignore[union-attr]
            for member in archive.getmembers()
        }


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "cache", tmp_path, clock=ManualClock(), limits=SMALL)


# ------------------------------------------------------------------------------------------------ good archives


def tar(entries: dict[str, bytes] | None = None, mode: str = "w", layout: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=layout) as archive:  # type: ignore[call-overload]
        for name, data in (FILES if entries is None else entries).items():
            header = tarfile.TarInfo(name)
            header.size, header.mtime = len(data), 1_700_000_000.5  # type: ignore[assignment]
            header.mode = 0o775 if name.endswith(".sh") else 0o664
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def zipped(entries: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in (FILES if entries is None else entries).items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = (0o100775 if name.endswith(".sh") else 0o100664) << 16
            archive.writestr(info, data)
    return out.getvalue()


GOOD = {
    "tar": tar(),
    "tar.gz": tar(mode="w:gz"),
    "tar.bz2": tar(mode="w:bz2"),
    "tar.xz": tar(mode="w:xz"),
    "gnu": tar(layout=tarfile.GNU_FORMAT),
    "ustar": tar(layout=tarfile.USTAR_FORMAT),
    "two gzip members": gzip.compress(tar()[:700]) + gzip.compress(tar()[700:]),
    "two xz streams": lzma.compress(tar()[:700]) + lzma.compress(tar()[700:]) + b"\0" * 8,
    "two bz2 streams": bz2.compress(tar()[:700]) + bz2.compress(tar()[700:]),
    "zip": zipped(),
    "zip stored": zipped(method=zipfile.ZIP_STORED),
    "zip bzip2": zipped(method=zipfile.ZIP_BZIP2),
    "zip lzma": zipped(method=zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_gives_the_same_bundle_as_the_directory(tmp_path: Path, sources: Sources, kind: str) -> None:
    (tmp_path / "app").write_bytes(GOOD[kind])
    for name, data in FILES.items():
        path = tmp_path / "plain" / name.removeprefix("web/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "plain" / "run.sh").chmod(0o755)
    plain = App.model_validate({"layers": ("app",), "source": {"directory": "plain"}})
    bundle = sources.fetch("web", app("app"))
    assert bundle == sources.fetch("web", plain)
    assert content(bundle) == {"app.py": FILES["web/app.py"], "run.sh": b"#!/bin/sh\n", "static": None} | {
        "static/a.css": b"body {}"
    }


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax"], ["--format=ustar"], ["--format=v7"], ["-z"]])
def test_archives_of_the_real_tar(tmp_path: Path, sources: Sources, options: list[str]) -> None:
    root = tmp_path / "tree"
    long = "d" * 90 + "/" + "e" * 90 + "/" + "f" * 50 if "v7" not in options[0] and "ustar" not in options[0] else "d/e"
    for name in ("a.txt", "é.txt", long):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    subprocess.run(["tar", *options, "-cf", str(tmp_path / "app"), "-C", str(root), "."], check=True)
    files = {name: data for name, data in content(sources.fetch("web", app("app"))).items() if data is not None}
    assert files == {name: name.encode() for name in ("a.txt", "é.txt", long)}


def test_one_directory_around_everything_is_dropped_and_others_are_kept(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "one").write_bytes(tar({"./shop-1.2/a": b"1", "./shop-1.2/lib/b": b"2"}))
    assert set(content(sources.fetch("web", app("one")))) == {"a", "lib", "lib/b"}
    (tmp_path / "two").write_bytes(tar({"a": b"1", "lib/b": b"2"}))
    assert set(content(sources.fetch("web", app("two")))) == {"a", "lib", "lib/b"}
    assert set(content(sources.fetch("web", app("one", subdirectory="lib")))) == {"b"}


def test_the_checksum_is_verified_before_anything_is_read(tmp_path: Path, sources: Sources) -> None:
    data = tar(mode="w:gz")
    (tmp_path / "good").write_bytes(data)
    right, wrong = hashlib.sha256(data).hexdigest(), "0" * 64
    sources.fetch("web", app("good", sha256=right))
    with pytest.raises(SourceError, match=f"should be {wrong}, it is {right}"):
        sources.fetch("web", app("good", sha256=wrong))
    (tmp_path / "bad").write_bytes(b"not even an archive")
    with pytest.raises(SourceError, match="checksum does not match"):
        sources.fetch("web", app("bad", sha256=wrong))


# ------------------------------------------------------------------------------------------------ hostile archives


def header(name: str | bytes = "x", kind: bytes = b"0", size: int = 0, **more: object) -> bytes:
    """One raw tar header, right in all that is not asked to be wrong."""
    raw = bytearray(512)
    name = name.encode() if isinstance(name, str) else name
    raw[0 : len(name)] = name
    raw[100:108] = b"%07o\0" % more.get("mode", 0o644)  # type: ignore[operator]
    raw[124:136] = more.get("raw_size", b"%011o\0" % size)  # type: ignore[assignment]
    raw[156:157] = kind
    raw[157 : 157 + len(more.get("link", b""))] = more.get("link", b"")  # type: ignore[arg-type, assignment]
    raw[257:265] = b"ustar\00000"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def member(name: str | bytes = "x", data: bytes = b"x", kind: bytes = b"0", **more: object) -> bytes:
    return header(name, kind, len(data), **more) + data + b"\0" * (-len(data) % 512)


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        record = f" {key.replace('_', '.')}={value}\n".encode()
        length = len(record) + 1
        while len(b"%d" % length) + len(record) != length:
            length += 1
        data += b"%d" % length + record
    return member("pax", data, b"x")


END = b"\0" * 1024
CREATED = b"PK\1\2\x14\x03\x14"
GOOD_FILE = member("good.txt", b"good")


def evil_zip(name: str = "x", data: bytes = b"x", change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("good.txt", b"good")
        info = zipfile.ZipInfo(name)
        info.external_attr = 0o100644 << 16
        change(info)
        archive.writestr(info, data)
    return out.getvalue()


def mode(value: int) -> Callable[[zipfile.ZipInfo], None]:
    return lambda info: setattr(info, "external_attr", value << 16)


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new)


def overlapping_zip() -> bytes:
    """Two names for the same content, as a zip bomb of the better kind has thousands."""
    data = evil_zip("aa", b"y" * 100)
    directory = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    first, rest = data[: data.index(b"PK\1\2")], data[data.index(b"PK\1\2") :]
    entry = data[directory : data.index(b"PK\5\6")]
    twin = entry.replace(b"aa", b"bb")
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(rest) - 22 + len(twin), len(first), 0)
    return first + rest[:-22] + twin + end


def encrypted_zip() -> bytes:
    data = bytearray(evil_zip("secret", b"x" * 20))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.rindex(mark) + offset] |= 1
    return bytes(data)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "parent": (tar({"../evil": b"x"}), r"leaves the app with '\.\.'"),
    "parent in the middle": (tar({"a/../../evil": b"x"}), "leaves the app"),
    "parent at the end": (tar({"a/..": b"x"}), "leaves the app"),
    "absolute": (tar({"/etc/cron.d/evil": b"x"}), "absolute path"),
    "two slashes": (tar({"//etc/evil": b"x"}), "absolute path"),
    "symbolic link": (GOOD_FILE + member("l", b"", b"2", link=b"/etc") + member("l/evil"), "is a symbolic link"),
    "link inside": (GOOD_FILE + member("l", b"", b"2", link=b"good.txt"), "is a symbolic link"),
    "hard link": (GOOD_FILE + member("l", b"", b"1", link=b"/etc/passwd"), "is a hard link"),
    "character device": (GOOD_FILE + member("d", b"", b"3"), "is a character device"),
    "block device": (GOOD_FILE + member("d", b"", b"4"), "is a block device"),
    "pipe": (GOOD_FILE + member("p", b"", b"6"), "is a pipe"),
    "unknown type": (GOOD_FILE + member("v", b"", b"V"), "unknown type"),
    "setuid": (member("su", b"x", mode=0o4755), "setuid"),
    "setgid": (member("sg", b"x", mode=0o2755), "setuid or setgid"),
    "gnu sparse": (GOOD_FILE + member("s", b"", b"S"), "is a sparse file"),
    "pax sparse": (pax(GNU_sparse_major="1", GNU_sparse_minor="0") + member("s"), "sparse file"),
    "pax sparse 0.1": (pax(GNU_sparse_map="0,1") + member("s"), "sparse file"),
    "pax path": (pax(path="../../evil") + member("fine"), "leaves the app"),
    "pax absolute path": (pax(path="/etc/evil") + member("fine"), "absolute path"),
    "pax negative size": (pax(size="-512") + member("fine"), "not a number"),
    "pax absurd size": (pax(size="9" * 30) + member("fine"), "not a number"),
    "pax size beyond the end": (pax(size="999999") + member("fine"), "damaged or cut off"),
    "pax without end": (member("p", b"99999 path=", b"x") + member("fine"), "extended header"),
    "pax length zero": (member("p", b"0 a=b\n", b"x") + member("fine"), "extended header"),
    "pax digits": (member("p", b"1" * 16000, b"x") + member("fine"), "extended header"),
    "pax huge": (header("p", b"x", 10**9) + b"x" * 4096, "absurd size"),
    "gnu long name": (member("l", b"../" * 30 + b"evil\0", b"L") + member("fine"), "leaves the app"),
    "gnu long name huge": (header("l", b"L", 2**40) + b"x" * 4096, "absurd size"),
    "negative size": (header("x", raw_size=b"\xff" * 12) + END, "negative or absurd"),
    "base-256 size": (header("x", raw_size=b"\x80" + b"\xff" * 11) + END, "cut off|bomb"),
    "size that is not octal": (header("x", raw_size=b"0000000zz99\0") + END, "not octal"),
    "checksum": (patched(tar(), b"web/app.py", b"web/apq.py"), "damaged"),
    "checksum of a later one": (GOOD_FILE + b"x" * 512 + END, "damaged"),
    "cut off in a header": (tar()[:700], "cut off"),
    "cut off in a file": (header("x", size=5000) + b"x" * 100, "cut off"),
    "empty file": (b"", "empty"),
    "only an end": (END, "no file in it"),
    "no name": (member(b""), "no name"),
    "dot": (member("./."), "no name"),
    "twice": (member("a/b") + member("a/./b"), "there twice"),
    "file and directory": (member("a") + member("a/b"), "there twice, as a file and as a directory"),
    "directory and file": (member("a/b") + member("a"), "there twice"),
    "case": (member("Readme/x") + member("readme/y"), "differ in case"),
    "unicode forms": (member("caf\u00e9") + member("cafe\u0301"), "Unicode form"),
    "backslash": (member("..\\evil"), "strange character"),
    "drive": (member("C:evil"), "strange character"),
    "control character": (member("a\x1b[31m\nb"), "strange character"),
    "directory with content": (member("d", b"x", b"5"), "has a content"),
    "long component": (tar({"n" * 300: b""}), "too long"),
    "deep": (tar({"d/" * 700 + "x": b""}), "too long"),
    "too many files": (b"".join(member(f"f{number}") for number in range(60)), "more than 50 files"),
    "too large": (tar({"big": bytes(random.Random(1).randbytes(2_100_000))}), "larger than 2,000,000 bytes"),
    "gzip bomb": (gzip.compress(tar({"zeros": b"\0" * 1_900_000})), "100 times its size"),
    "bzip2 bomb": (bz2.compress(tar({"zeros": b"\0" * 1_900_000})), "100 times its size"),
    "xz bomb": (lzma.compress(tar({"zeros": b"\0" * 1_900_000})), "100 times its size"),
    "endless headers": (gzip.compress(pax(comment="x") * 3000), "100 times its size"),
    "endless end": (gzip.compress(tar() + b"\0" * 3_000_000), "times its size|bytes unpacked"),
    "archive too large": (bytes(6_000_000), "archive is larger"),
    "truncated gzip": (gzip.compress(tar())[:-9], "cut off"),
    "gzip checksum": (gzip.compress(tar())[:-8] + b"\0" * 8, "damaged"),
    "truncated bzip2": (bz2.compress(tar())[:-9], "cut off"),
    "truncated xz": (lzma.compress(tar())[:-9], "cut off"),
    "xz with huge memory": (
        lzma.compress(tar(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]),
        "damaged or cut off",
    ),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 600, "zstd archives are not supported"),
    "html": (b"<!DOCTYPE html><html>" + b" " * 1000, "not a tar archive"),
    "zip parent": (evil_zip("../evil"), "leaves the app"),
    "zip absolute": (evil_zip("/etc/evil"), "absolute path"),
    "zip backslash": (evil_zip("..\\evil"), "strange character"),
    "zip link": (evil_zip("l", b"/etc/passwd", mode(0o120777)), "is a link or a device"),
    "zip device": (evil_zip("d", b"", mode(0o060644)), "is a link or a device"),
    "zip setuid": (evil_zip("s", b"", mode(0o104755)), "setuid"),
    "zip directory bits": (evil_zip("d", b"x", mode(0o040755)), "directory with a content"),
    "zip encrypted": (encrypted_zip(), "is encrypted"),
    "zip bomb": (zipped({"zeros": b"\0" * 1_900_000}), "100 times its size"),
    "zip bomb that lies": (
        patched(zipped({"zeros": b"\0" * 1_900_000}), struct.pack("<L", 1_900_000), struct.pack("<L", 500)),
        "damaged|larger than",
    ),
    "zip overlap": (overlapping_zip(), "overlap"),
    "zip too many": (zipped({f"f{number}": b"" for number in range(60)}), "60 files"),
    "zip cut off": (zipped()[:-30], "cut off"),
    "zip other name inside": (evil_zip("nice")[::1].replace(b"nice", b"evil", 1), "damaged"),
    "zip nul": (patched(evil_zip("a_evil"), b"a_evil", b"a\0evil"), "NUL"),
    "zip checksum": (patched(zipped(method=zipfile.ZIP_STORED), b"print", b"prinz"), "damaged"),
    "zip method": (patched(evil_zip("aa"), CREATED + bytes(5), CREATED + b"\0\0\0\x63\0"), "unknown method"),
    "zip twice": (patched(zipped({"aa": b"1", "bb": b"2"}), b"bb", b"aa"), "there twice"),
    "zip claims a huge directory": (zipped()[:-10] + struct.pack("<LLH", 2**31, 0, 0), "too many files"),
}  # fmt: skip


def snapshot(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if "cache" not in path.relative_to(root).parts[:1]}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_writes_nothing(tmp_path: Path, sources: Sources, kind: str) -> None:
    data, complaint = HOSTILE[kind]
    (tmp_path / "evil").write_bytes(data)
    before = snapshot(tmp_path)
    started = time.monotonic()
    with pytest.raises(SourceError, match=complaint) as caught:
        sources.fetch("web", app())
    assert time.monotonic() - started < 5
    assert snapshot(tmp_path) == before
    assert {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} == set()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) > 70


def test_a_bomb_stops_at_the_cap(tmp_path: Path) -> None:
    bomb = gzip.compress(tar({"zeros": b"\0" * 80_000_000}), compresslevel=1)
    (tmp_path / "bomb").write_bytes(bomb)
    for limits, complaint in (
        (Limits(bytes=1_000_000, ratio=10**6), "larger than 1,000,000 bytes"),
        (Limits(ratio_from=1_000_000), "200 times its size"),
    ):
        started = time.monotonic()
        with pytest.raises(SourceError, match=complaint):
            Sources(tmp_path / "cache", tmp_path, limits=limits).fetch("web", app("bomb"))
        assert time.monotonic() - started < 3


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(GOOD)), flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=6))
def test_damaged_archives_are_refused_or_harmless(
    tmp_path: Path, sources: Sources, kind: str, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(GOOD[kind])
    for position, value in flips:
        data[position % len(data)] = value
    (tmp_path / "evil").write_bytes(data)
    try:
        bundle = sources.fetch("web", app())
    except SourceError:
        return
    unpacked = tmp_path / "unpacked" / "inside"
    unpacked.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", str(bundle.path), "-C", str(unpacked)], check=True)
    assert [path.name for path in unpacked.parent.iterdir()] == ["inside"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000), magic=st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"PK\3\4"]))
def test_any_bytes_are_refused(tmp_path: Path, sources: Sources, data: bytes, magic: bytes) -> None:
    (tmp_path / "evil").write_bytes(magic + data)
    with pytest.raises(SourceError):
        sources.fetch("web", app())
