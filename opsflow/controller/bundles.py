"""The code of apps: fetched once per app and run, at the revision that the others run."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opsflow.controller.parts import Locks, Parts
from opsflow.errors import SourceError
from opsflow.model.state import Deployed, StackState
from opsflow.ports import Bundle


class Bundles:
    """What was fetched in one run. A failure is remembered too, so that every instance fails for the same reason."""

    def __init__(self, parts: Parts, revisions: Mapping[str, str | None] | None = None) -> None:
        self._parts = parts
        self._revisions = revisions or {}
        """App -> the revision that was asked for in this run, None for the source's own."""
        self._fetched: dict[tuple[str, str | None], Bundle | SourceError] = {}
        self._locks = Locks()
        self._guard = threading.Lock()

    def fetch(self, app: str, observed: StackState) -> Bundle:
        """The bundle of an app.

        Raises:
            SourceError: it cannot be fetched.
        """
        return self._at(app, self.revision(app, observed))

    def deployed(self, app: str, there: Deployed) -> Bundle | None:
        """The bundle of what is deployed on an instance; None when the source has only something else by now.

        Raises:
            SourceError: it cannot be fetched.
        """
        # Only git can be asked for an older revision.
        git = self._parts.stack.apps[app].source.kind == "git"
        found = self._at(app, there.revision if git else None)
        return found if found.revision.startswith(there.revision) else None

    def _at(self, app: str, revision: str | None) -> Bundle:
        key = (app, revision)
        with self._locks.of(app):
            if key not in self._fetched:
                found = self._fetch(*key)
                with self._guard:
                    self._fetched[key] = found
        found = self._fetched[key]
        if isinstance(found, SourceError):
            raise found
        return found

    def _fetch(self, app: str, revision: str | None) -> Bundle | SourceError:
        try:
            return self._parts.sources.fetch(app, self._parts.stack.apps[app], revision)
        except SourceError as error:
            return error

    def revision(self, app: str, observed: StackState) -> str | None:
        """What was asked for; else what somebody chose last for this app; else None, the source's own."""
        if app in self._revisions:
            return self._revisions[app]
        newest = newest_deployed(app, observed)
        return newest.revision if newest and newest.pinned else None

    def pinned(self, app: str, observed: StackState) -> bool:
        """Whether somebody chose the revision."""
        return self.revision(app, observed) is not None


def newest_deployed(app: str, observed: StackState) -> Deployed | None:
    """The latest deployment of an app on any instance."""
    there = [state.apps[app] for state in observed.instances.values() if app in state.apps]
    return max(there, key=lambda deployed: deployed.at, default=None)
