"""Where the code of an app comes from (OpsWorks: Source)."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from opsflow.model.base import Model


def _revision(value: str) -> str:
    # A leading dash would be read as an option by git; '@{', '..' and control characters name other things than a ref.
    if (
        not re.fullmatch(r"(?!-)[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}", value)
        or ".." in value
        or "@{" in value
        or value.endswith(".lock")
    ):
        raise ValueError(f"revision {value!r} is not a branch, tag or commit id")
    return value


Revision = Annotated[str, AfterValidator(_revision)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(Model):
    """Exactly one of ``directory``, ``git``, ``archive`` and ``s3``.

    Relative paths are relative to the stack file.
    """

    directory: str | None = None
    """A directory on the machine that runs opsflow."""
    git: str | None = None
    """A git repository: a path, https:// or ssh:// URL, or user@host:path."""
    archive: str | None = None
    """A tar (gz, bz2, xz) or zip archive: a path or https:// URL. A URL needs `sha256`."""
    s3: str | None = None
    """An archive at s3://bucket/key."""
    revision: Revision | None = None
    """Branch, tag or commit of a git source; default: the repository's HEAD."""
    sha256: Sha256 | None = None
    """Checksum of an archive, in lower-case hex."""
    username: str | None = None
    password: SecretStr | None = None
    ssh_key: SecretStr | None = None
    """Private key for a git repository, without a passphrase."""
    subdirectory: str | None = None
    """Only this directory of the source is the app."""

    @property
    def kind(self) -> str:
        """``directory``, ``git``, ``archive`` or ``s3``."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def location(self) -> str:
        """The path or URL."""
        value: str = getattr(self, self.kind)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; {' and '.join(given) or 'none'} given")
        if not self.location:
            raise ValueError(f"{given[0]} is empty")
        if self.location.startswith("-"):
            raise ValueError(f"{given[0]} '{self.location}' starts with '-'")
        if self.revision and given[0] != "git":
            raise ValueError(f"revision belongs to a git source, not to {given[0]}")
        if self.sha256 and given[0] not in ("archive", "s3"):
            raise ValueError(f"sha256 belongs to an archive, not to {given[0]}")
        if self.archive and "://" in self.archive and not self.sha256:
            raise ValueError("an archive from a URL needs sha256, so that what was checked is what runs")
        return self


KINDS = ("directory", "git", "archive", "s3")
