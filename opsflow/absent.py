"""Loading a library without another one that it would take along.

For files of ssh_config, which nobody here reads, paramiko loads invoke when that is there, and with it asyncio and
unittest: most of what it costs to load paramiko.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """While it lasts, importing the module ``name`` fails as if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
