"""Which opsflow this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed version; a source tree that is not installed has none."""
    try:
        return version("opsflow")
    except PackageNotFoundError:
        return "(source tree, not installed)"
