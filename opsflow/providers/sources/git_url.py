"""What a git repository may be called: a path, https://, ssh:// or user@host:path. Nothing else reaches git."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from opsflow.errors import SourceError
from opsflow.providers.sources.tree import shown

HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
REMOTE_PATH = re.compile(r"/?[A-Za-z0-9_.~+@%][A-Za-z0-9_.~+@%/-]*")
SCP = re.compile(r"(?P<user>[^@/:]*)@(?P<host>\[[^\]]*\]|[^:/]*):(?P<path>.*)", re.DOTALL)
ALLOWED = "use a path, https://host/path, ssh://user@host/path or user@host:path"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that git may be asked for.

    Attributes:
        url: what git gets, after ``--``.
        protocol: the only one that git may use: ``file``, ``https`` or ``ssh``.
        subdirectory: the part of a local repository that was meant.
        host: of a remote one.
    """

    url: str
    protocol: str
    subdirectory: str = ""
    host: str = ""


def repository(location: str, base: Path) -> Repository:
    """Check what a user wrote.

    Raises:
        SourceError: git is never asked for this.
    """
    if any(not char.isprintable() or char.isspace() for char in location) or location.startswith("-"):
        raise SourceError(f"{shown(location)} is not a git repository's address; {ALLOWED}")
    if "::" in location and not location.startswith(("/", "./", "../")):
        raise SourceError(f"{shown(location)} would make git run a program; {ALLOWED}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location):
        return _from_url(location)
    scp = SCP.fullmatch(location)
    if scp:
        return _from_scp(location, scp)
    return _local(location, base)


def _from_url(location: str) -> Repository:
    try:
        parts = urlsplit(location)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"{shown(location)} is not a URL: {error}") from error
    scheme = parts.scheme
    if scheme == "file":
        raise SourceError(f"{shown(location)}: write a local repository as a plain path")
    if scheme not in ("https", "ssh"):
        raise SourceError(f"git over {scheme}:// is not allowed; {ALLOWED}")
    _check_user(parts, scheme)
    _check(HOST, _host(parts), "host", location)
    _check(REMOTE_PATH, parts.path, "path", location)
    if parts.query or parts.fragment or port == 0:
        raise SourceError(f"{shown(location)} has a part that a repository's address cannot have; {ALLOWED}")
    return Repository(location, scheme, host=_host(parts))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}" if parts.port else "")


def _check_user(parts: SplitResult, scheme: str) -> None:
    user, at, _ = parts.netloc.rpartition("@")
    if not at:
        return
    # Never shown: it may hold a password.
    if ":" in user:
        raise SourceError("a password does not belong into the address; use the fields 'username' and 'password'")
    if scheme == "https":
        raise SourceError("a user does not belong into an https address; use the fields 'username' and 'password'")
    if not USER.fullmatch(user):
        raise SourceError(f"{shown(user)} is not a user name")


def _from_scp(location: str, scp: re.Match[str]) -> Repository:
    _check(USER, scp["user"], "user", location)
    _check(HOST, scp["host"], "host", location)
    _check(REMOTE_PATH, scp["path"], "path", location)
    return Repository(location, "ssh", host=scp["host"])


def _check(pattern: re.Pattern[str], value: str, what: str, location: str) -> None:
    if not pattern.fullmatch(value):
        raise SourceError(f"{shown(location)} has no usable {what} ({shown(value)}); {ALLOWED}")


def _local(location: str, base: Path) -> Repository:
    """The repository at or around a directory; a directory inside a bigger one means that part of it."""
    path = (base / location).resolve()
    if not path.is_dir():
        raise SourceError(f"there is no git repository {path}: no such directory")
    for candidate in (path, *path.parents):
        if (candidate / ".git").exists() or _bare(candidate):
            _refuse_planted(path, candidate)
            inside = path.relative_to(candidate).as_posix()
            return Repository(str(candidate), "file", subdirectory="" if inside == "." else inside)
    raise SourceError(
        f"{path} is not in a git repository",
        hint="run `git init` and commit there, or use `directory:` for a plain directory",
    )


def _refuse_planted(path: Path, candidate: Path) -> None:
    """A repository found above must not be somebody else's: anybody can put one into /tmp."""
    marker = candidate / ".git" if (candidate / ".git").exists() else candidate
    if candidate != path and marker.stat().st_uid not in (path.stat().st_uid, os.geteuid()):
        raise SourceError(
            f"{path} is not a git repository, and the one around it, {candidate}, belongs to somebody else",
            hint="name that repository itself, with `subdirectory:`, if it is the right one",
        )


def _bare(path: Path) -> bool:
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
