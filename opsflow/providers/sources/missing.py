"""Whether a source that is on this machine is there, without reading it."""

from __future__ import annotations

from pathlib import Path

from opsflow.errors import SourceError
from opsflow.model.source import Source


def missing(source: Source, base: Path) -> str:
    """What is wrong with a local source, or nothing; of one on the network nothing is known."""
    match source.kind:
        case "directory":
            return _missing_directory(base / source.location, source.subdirectory)
        case "git":
            return _missing_repository(source.location, base)
        case "archive" if "://" not in source.location and not (base / source.location).is_file():
            return f"there is no file {base / source.location}"
    return ""


def _missing_directory(directory: Path, subdirectory: str | None) -> str:
    for place in (directory, directory / (subdirectory or ".")):
        if not place.is_dir():
            return f"there is no directory {place}"
    return ""


def _missing_repository(location: str, base: Path) -> str:
    # Loaded where a stack has such a source: it is most of what this takes.
    from opsflow.providers.sources.git_url import repository

    try:
        repository(location, base)
    except SourceError as error:
        return error.message
    return ""
