from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opsflow.engine.frames import LONGEST_FRAME, Frames

NONCE = "0123abcd4567"
MARK = f"\x1e{NONCE} ".encode()

words = st.lists(st.text("abcxyz0189/.-", min_size=1, max_size=6), min_size=1, max_size=5)
output = st.binary(max_size=60) | st.text("\x1e\n0123abcd ", max_size=40).map(str.encode)
pieces = st.lists(output | words, max_size=12)


def framed(parts: list[bytes | list[str]]) -> bytes:
    return b"".join(part if isinstance(part, bytes) else MARK + " ".join(part).encode() + b"\x1e" for part in parts)


def parsed(data: bytes, cuts: list[int]) -> list[bytes | list[str]]:
    frames, found = Frames(NONCE), list[bytes | list[str]]()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in zip(places, places[1:], strict=False):
        for item in frames.feed(data[start:end]):
            if found and isinstance(item, bytes) and isinstance(found[-1], bytes):
                found[-1] += item
            else:
                found.append(item)
    return found


@given(pieces, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_output_in_any_chunks(parts: list[bytes | list[str]], cuts: list[int]) -> None:
    parts = [*parts, ["d"]]
    merged: list[bytes | list[str]] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        elif part:
            merged.append(part)
    found = parsed(framed(parts), cuts)
    assert found == merged
    assert not any(isinstance(item, bytes) and MARK in item for item in found)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_bytes_without_a_frame_come_out_as_they_went_in(data: bytes, size: int) -> None:
    cuts = list(range(0, len(data), size))
    found = parsed(data + MARK + b"d\x1e", cuts)
    assert b"".join(item for item in found if isinstance(item, bytes)) == data
    assert found[-1] == ["d"]


def test_little_is_held_back() -> None:
    frames = Frames(NONCE)
    held = b"x" * 1000 + MARK[:5]
    assert b"".join(frames.feed(held)) == b"x" * 1000  # type: ignore[arg-type]
    assert b"".join(frames.feed(b"y")) == MARK[:5] + b"y"  # type: ignore[arg-type]


def test_a_frame_without_end_does_not_fill_the_memory() -> None:
    frames = Frames(NONCE)
    found = [item for _ in range(5) for item in frames.feed(MARK + b"x" * LONGEST_FRAME)]
    assert found


def test_another_sessions_frames_are_output() -> None:
    other = b"\x1e" + b"f" * len(NONCE) + b" d\x1e"
    assert parsed(other + MARK + b"d\x1e", []) == [other, ["d"]]
