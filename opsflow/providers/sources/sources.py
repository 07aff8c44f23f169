"""Apps from directories, git repositories and archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from opsflow.clock import Clock, SystemClock
from opsflow.errors import SourceError
from opsflow.model.app import App
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


class Sources:
    """Implements :class:`~opsflow.ports.AppSources`.

    What a source holds is read into one anonymous file and written as one .tar.gz with sorted names, no times and no
    owners; nothing is ever unpacked on this machine, and nothing of a source is run.

    Args:
        cache: directory for bundles and mirrors; made private when it is missing.
        base: what relative paths in a source are relative to.
    """

    def __init__(self, cache: Path, base: Path, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        self._cache = Cache(cache, clock or SystemClock())
        self._base = base
        self._clock = clock or SystemClock()
        self._limits = limits or Limits()

    def fetch(self, name: str, app: App, revision: str | None = None) -> Bundle:
        """Fetch the app at its source's revision, or at ``revision``.

        Raises:
            SourceError: it cannot be fetched, is not what its checksum says, or is not safe to deploy.
        """
        try:
            return self._fetch(app.source, revision)
        except SourceError as error:
            raise SourceError(f"app '{name}': {error.message}", hint=error.hint) from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise SourceError(f"app '{name}': {error.strerror or error}{where}") from error

    def _fetch(self, source: Source, revision: str | None) -> Bundle:
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
