"""Where the code of an app comes from (OpsWorks: Source)."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from opsflow.model.base import Misfit, Model, Shape
from opsflow.model.paths import InsidePath


def _revision(value: str) -> str:
    # A leading dash would be read as an option by git; '@{', '..' and control characters name other things than a ref.
    if (
        not re.fullmatch(r"(?!-)[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}", value)
        or ".." in value
        or "@{" in value
        or value.endswith(".lock")
    ):
        raise ValueError(f"{value[:100]!r} is not a branch, tag or commit id")
    return value


Revision = Annotated[str, AfterValidator(_revision), Shape(r"^[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["the 64 lower-case digits that sha256sum prints"])]


KINDS = ("directory", "git", "archive", "s3")


class Source(Model):
    """Exactly one of ``directory``, ``git``, ``archive`` and ``s3``.

    Relative paths are relative to the project (the directory above `stacks/`).
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind], "properties": {kind: {"type": "string"}}} for kind in KINDS]}
    )

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
    """User for an https:// address."""
    password: SecretStr | None = None
    """That user's password or token; hidden from every output."""
    ssh_key: SecretStr | None = None
    """Private key for a git repository, without a passphrase."""
    subdirectory: InsidePath | None = None
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
            raise Misfit(f"needs exactly one of {', '.join(KINDS)}; {' and '.join(given) or 'none'} given", *given[1:2])
        self._check_location(given[0])
        if self.revision and given[0] != "git":
            raise Misfit(f"revision belongs to a git source, not to {given[0]}", "revision")
        if self.sha256 and given[0] not in ("archive", "s3"):
            raise Misfit(f"sha256 belongs to an archive, not to {given[0]}", "sha256")
        if self.archive and "://" in self.archive and not self.sha256:
            message = "an archive from a URL needs sha256, so that what was checked is what runs"
            raise Misfit(message, "archive", hint="write sha256: and the 64 digits that sha256sum prints")
        return self

    def _check_location(self, kind: str) -> None:
        # The text may contain a password, so it is not repeated here.
        if not self.location or re.search(r"[\x00-\x1f\x7f]", self.location):
            raise Misfit("is empty" if not self.location else "has a control character", kind)
        if self.location.startswith("-"):
            raise Misfit("starts with '-', which programs read as an option", kind, hint="write ./ before it")
        scheme = self.location.partition("://")[0] if "://" in self.location else ""
        if scheme not in _SCHEMES[kind] or "::" in self.location.partition("/")[0]:
            raise Misfit("this kind of address is not supported", kind, hint=f"write {_WRITE[kind]}")


_SCHEMES = {
    "directory": ("",),
    "git": ("", "https", "http", "ssh", "file"),
    "archive": ("", "https", "http"),
    "s3": ("s3",),
}
_WRITE = {
    "directory": "a path",
    "git": "a path, https://..., ssh://... or user@host:path",
    "archive": "a path or https://...",
    "s3": "s3://bucket/key",
}
