"""The code of apps, from directories, git repositories and archives."""

from opsflow.providers.sources.limits import Limits
from opsflow.providers.sources.missing import missing
from opsflow.providers.sources.sources import Sources

__all__ = ["Limits", "Sources", "missing"]
