"""Apps from directories, git repositories and archives."""

from __future__ import annotations

from pathlib import Path

from opsflow.clock import Clock, SystemClock
from opsflow.errors import SourceError
from opsflow.model.app import App
from opsflow.ports import Bundle
from opsflow.providers.sources.cache import Cache
from opsflow.providers.sources.limits import Limits


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
        # Loaded for the first app: most commands fetch none, and need no git, no tar and no HTTP.
        from opsflow.providers.sources.fetching import Fetching

        try:
            return Fetching(self._cache, self._base, self._clock, self._limits).fetch(app.source, revision)
        except SourceError as error:
            raise SourceError(f"app '{name}': {error.message}", hint=error.hint) from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise SourceError(f"app '{name}': {error.strerror or error}{where}") from error
