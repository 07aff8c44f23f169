"""Splits what the persistent shell prints into output and frames.

A frame is the session's nonce and some words between two record separators. There is no newline in it: bash writes a
line at a time, and output of a command could get in between. Everything else is output of whatever runs. Works on
bytes, whatever they are, and never holds more than one frame's length back.
"""

from __future__ import annotations

from collections.abc import Iterator

LONGEST_FRAME = 4096
EDGE = b"\x1e"


class Frames:
    """An incremental parser of one stream."""

    def __init__(self, nonce: str) -> None:
        self._mark = EDGE + nonce.encode() + b" "
        self._held = b""

    def feed(self, data: bytes) -> Iterator[bytes | list[str]]:
        """Yield output as bytes and frames as lists of words, in order."""
        data = self._held + data
        self._held = b""
        position = 0
        while True:
            start = data.find(self._mark, position)
            if start < 0:
                cut = len(data) - self._partial(data, position)
                if cut > position:
                    yield data[position:cut]
                self._held = data[cut:]
                return
            if start > position:
                yield data[position:start]
            end = data.find(EDGE, start + 1)
            if end < 0 and len(data) - start < LONGEST_FRAME:
                self._held = data[start:]
                return
            end = len(data) if end < 0 else end
            yield data[start + len(self._mark) : end].decode(errors="backslashreplace").split()
            position = end + 1

    def _partial(self, data: bytes, position: int) -> int:
        """How many bytes at the end may be the beginning of a frame."""
        longest = min(len(self._mark) - 1, len(data) - position)
        for length in range(longest, 0, -1):
            if data.endswith(self._mark[:length]):
                return length
        return 0
