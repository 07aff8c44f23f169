"""What every ports.Keep does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opsflow.clock import SystemClock
from opsflow.ports import Keep
from opsflow.store.keep import LARGEST, FileKeep, RamKeep

CLOCK = SystemClock()

MAKERS: dict[str, Callable[[Path], Keep]] = {
    "ram": lambda directory: RamKeep(entries=5),
    "file": lambda directory: FileKeep(directory / "keep.db", CLOCK, entries=5),
}


@pytest.fixture(params=MAKERS)
def keep(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keep]:
    made = MAKERS[request.param](tmp_path)
    yield made
    made.close()


def test_what_was_remembered_comes_back(keep: Keep) -> None:
    assert keep.recall("a") is None
    keep.remember({"a": b"1", "b": b"\0\xff"})
    assert (keep.recall("a"), keep.recall("b"), keep.recall("c")) == (b"1", b"\0\xff", None)
    keep.remember({"a": b"2"})
    assert keep.recall("a") == b"2"


def test_it_is_bounded(keep: Keep) -> None:
    for number in range(20):
        keep.remember({f"key{number}": b"x"})
    assert sum(keep.recall(f"key{number}") is not None for number in range(20)) <= 5
    assert keep.recall("key19") == b"x"


def test_a_value_that_is_too_large_is_not_kept_and_nothing_older_either(keep: Keep) -> None:
    keep.remember({"a": b"old"})
    keep.remember({"a": b"x" * (LARGEST + 1)})
    assert keep.recall("a") is None


class TestTheFile:
    def test_it_lasts_and_is_private(self, tmp_path: Path) -> None:
        first = FileKeep(tmp_path / "keep.db", CLOCK)
        first.remember({"a": b"1"})
        first.close()
        second = FileKeep(tmp_path / "keep.db", CLOCK)
        assert second.recall("a") == b"1"
        second.close()
        assert (tmp_path / "keep.db").stat().st_mode & 0o077 == 0

    def test_two_processes_at_once(self, tmp_path: Path) -> None:
        one, two = (FileKeep(tmp_path / "keep.db", CLOCK) for _ in range(2))
        one.remember({"a": b"1"})
        two.remember({"b": b"2"})
        assert (one.recall("b"), two.recall("a")) == (b"2", b"1")
        one.close()
        two.close()

    @pytest.mark.parametrize("content", [b"not a database at all, but long enough to look like one" * 40, b""])
    def test_a_damaged_file_is_replaced(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "keep.db").write_bytes(content)
        broken = FileKeep(tmp_path / "keep.db", CLOCK)
        assert broken.recall("a") is None
        broken.remember({"a": b"1"})
        broken.close()
        fresh = FileKeep(tmp_path / "keep.db", CLOCK)
        fresh.remember({"a": b"1"})
        assert fresh.recall("a") == b"1"
        fresh.close()

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        keep = FileKeep(tmp_path / "missing" / "keep.db", CLOCK)
        keep.remember({"a": b"1"})
        assert keep.recall("a") is None
        keep.close()

    def test_a_file_of_another_version_is_started_anew(self, tmp_path: Path) -> None:
        import sqlite3

        connection = sqlite3.connect(tmp_path / "keep.db")
        connection.executescript("CREATE TABLE kept (something TEXT); PRAGMA user_version = 99;")
        connection.close()
        keep = FileKeep(tmp_path / "keep.db", CLOCK)
        keep.remember({"a": b"1"})
        assert keep.recall("a") == b"1"
        keep.close()
