"""Reading what a source holds: into one file, of which the bundle is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from opsflow.clock import Clock
from opsflow.errors import SourceError
from opsflow.model.source import Revision, Source
from opsflow.ports import Bundle
from opsflow.providers.sources.archive import copy_archive, read_archive
from opsflow.providers.sources.cache import Cache
from opsflow.providers.sources.directory import read_directory
from opsflow.providers.sources.download import download
from opsflow.providers.sources.git import Places, read_git
from opsflow.providers.sources.limits import Limits
from opsflow.providers.sources.tree import Tree

REVISION: TypeAdapter[str] = TypeAdapter(Revision)


class Fetching:
    """Fetches sources into a cache; relative paths are relative to ``base``."""

    def __init__(self, cache: Cache, base: Path, clock: Clock, limits: Limits) -> None:
        self._cache = cache
        self._base = base
        self._clock = clock
        self._limits = limits

    def fetch(self, source: Source, revision: str | None) -> Bundle:
        """Fetch it at its own revision, or at ``revision``.

        Raises:
            SourceError: it cannot be fetched, is not what its checksum says, or is not safe to deploy.
            OSError: this machine cannot read or keep it.
        """
        self._cache.prepare()
        self._cache.prune()
        with self._cache.anonymous_file() as spool, self._cache.new_bundle() as (out, path):
            tree = Tree(spool, self._limits, strict=source.kind == "archive")
            commit = self._read(tree, source, revision)
            digest = tree.finish(out)
            out.flush()
            os.fsync(out.fileno())
            if commit is None and revision not in (None, digest):
                raise SourceError(f"a source that is not git has no revision '{revision}'; its content now is {digest}")
            return Bundle(self._cache.keep(path, digest), commit or digest)

    def _read(self, tree: Tree, source: Source, revision: str | None) -> str | None:
        """Fill the tree; returns the commit id of a git source."""
        match source.kind:
            case "directory":
                read_directory(tree, self._base / source.location, source.subdirectory)
                return None
            case "git":
                return self._read_git(tree, source, revision)
            case "archive":
                with self._cache.anonymous_file() as copy:
                    self._copy(source, copy)
                    read_archive(tree, copy, self._limits)
            case _:
                raise SourceError(
                    "s3 sources are not available in this version",
                    hint="use archive: with a path or an https:// URL (a presigned one works) and its sha256",
                )
        if source.subdirectory:
            tree.select(source.subdirectory)
        return None

    def _read_git(self, tree: Tree, source: Source, revision: str | None) -> str:
        if revision is not None:
            try:
                REVISION.validate_python(revision)
            except ValidationError as error:
                raise SourceError(f"{revision!r} is not a branch, tag or commit id") from error
        with self._cache.private_directory() as private:
            places = Places(self._base, self._cache.mirrors, private, self._limits)
            return read_git(tree, source, revision or source.revision, places)

    def _copy(self, source: Source, copy: IO[bytes]) -> None:
        if "://" in source.location:
            found = download(source, copy, self._limits, self._clock)
        else:
            found = copy_archive(self._base / source.location, copy, self._limits)
        if source.sha256 and found != source.sha256:
            raise SourceError(f"the checksum does not match: sha256 should be {source.sha256}, it is {found}")
