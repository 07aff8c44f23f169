"""The streams of the process: one that cannot be written any more ends what is shown, never what is done."""

from __future__ import annotations

import io
import os
import sys


class Outlet(io.TextIOWrapper):
    """Drops what is written after the first error of its descriptor, and remembers that error."""

    lost: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write, or drop it."""
        if self.lost is None:
            try:
                return super().write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # What is still buffered has to go somewhere, or the interpreter complains at exit.
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a descriptor is wanted, not a path
            os.dup2(nowhere.fileno(), self.fileno())


def install() -> None:
    """Make outlets of stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the descriptor was closed (`>&-`)
            stream = open(os.devnull, "w")  # noqa: SIM115, PTH123  open until the process ends
            setattr(sys, f"__{name}__", stream)
        outlet = Outlet(stream.buffer, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)
        setattr(sys, name, outlet)


def settled(code: int) -> int:
    """The exit code of the process, once everything is written: an output that was lost is a failure.

    A reader that went away (`| head`) has what it wanted: that is none.
    """
    for name in ("stdout", "stderr"):
        getattr(sys, name).flush()
    for name in ("stdout", "stderr"):
        lost = getattr(getattr(sys, name), "lost", None)
        if lost is not None and not isinstance(lost, BrokenPipeError):
            sys.stderr.write(f"error: {name} cannot be written: {lost.strerror}\n")
            sys.stderr.flush()
            code = code or 1
    return code


def is_lost(stream: object) -> bool:
    """Whether nothing that is written there arrives any more."""
    return isinstance(stream, Outlet) and stream.lost is not None
