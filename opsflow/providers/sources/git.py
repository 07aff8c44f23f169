"""A git repository as an app.

Only objects are fetched, into a bare mirror, and read one by one: there is no checkout, so attributes, filters, hooks
and submodules have nothing to act on.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from opsflow.errors import SourceError
from opsflow.model.source import Source
from opsflow.providers.sources.git_command import Git, GitFailed, prepare
from opsflow.providers.sources.git_url import repository
from opsflow.providers.sources.limits import Limits
from opsflow.providers.sources.tree import Tree, chunks_of, shown

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
ABBREVIATED = re.compile(r"[0-9a-f]{4,63}")
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
SUGGESTIONS = 5
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_LARGEST = 1024
DAMAGED = re.compile(r"\.lock|corrupt|damaged|shallow|bad object|not a git repository|unable to (create|read|write)")


def read_git(tree: Tree, source: Source, revision: str | None, places: Places) -> str:
    """Add the files of a commit; returns its full id.

    Raises:
        SourceError: the repository or the revision does not exist, or something in it cannot be deployed.
    """
    wanted = repository(source.location, places.base)
    name = hashlib.sha256(wanted.url.encode()).hexdigest()
    with _locked(places.mirrors / f"{name}.lock"):
        git = prepare(wanted, source, places.mirrors / f"{name}.git", places.private, places.limits)
        try:
            commit = _fetched(git, wanted.url, revision)
        except GitFailed as error:
            if not DAMAGED.search(error.message):
                raise
            # Once more from nothing: a fetch that was killed may have left locks or half a mirror.
            shutil.rmtree(git.mirror)
            commit = _fetched(git, wanted.url, revision)
        _read_objects(git, tree, _root(git, commit, f"{wanted.subdirectory}/{source.subdirectory or ''}"))
    return commit


@dataclass(frozen=True, slots=True)
class Places:
    """Where git may work, and what relative paths are relative to."""

    base: Path
    mirrors: Path
    private: Path
    limits: Limits


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time per repository, over all threads and processes."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ------------------------------------------------------------------------------------------------ which commit


def _fetched(git: Git, url: str, revision: str | None) -> str:
    """The commit id of the revision, fetched into the mirror."""
    if not (git.mirror / "HEAD").exists():
        git.mirror.mkdir(mode=0o700, parents=True, exist_ok=True)
        git.run("init", "--quiet", "--bare", "--template=", str(git.mirror))
    if revision and COMMIT.fullmatch(revision):
        return _obtained(git, url, revision)
    refs = _refs(git, url)
    commit = _resolve(refs, revision)
    if commit is None:
        return _fetched_abbreviated(git, url, revision or "HEAD", refs)
    return _obtained(git, url, commit, refs)


def _refs(git: Git, url: str) -> Mapping[str, str]:
    """Ref -> object id, as the repository has them now."""
    lines = git.run("ls-remote", "--quiet", "--", url).splitlines()
    refs = {ref: oid for oid, _, ref in (line.partition("\t") for line in lines)}
    if not refs:
        raise SourceError("the repository has no commits")
    return refs


def _resolve(refs: Mapping[str, str], revision: str | None) -> str | None:
    """The object that a name means; None when it is the name of nothing."""
    if revision is None or revision == "HEAD":
        if "HEAD" not in refs:
            raise SourceError("the repository's HEAD is a branch without commits; name a revision")
        return refs["HEAD"]
    names = (revision, f"refs/{revision}", f"refs/heads/{revision}", f"refs/tags/{revision}")
    meant = {name: refs.get(f"{name}^{{}}", refs[name]) for name in names if name.startswith("refs/") and name in refs}
    if len(set(meant.values())) > 1:
        short = " and ".join(name.removeprefix("refs/") for name in meant)
        raise SourceError(f"revision '{revision}' is ambiguous: there are {short}; write one of these")
    return next(iter(meant.values()), None)


def _obtained(git: Git, url: str, commit: str, refs: Mapping[str, str] | None = None) -> str:
    """That commit, from the mirror if it has it."""
    if not _has(git, commit):
        try:
            git.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--", url, commit)
        except GitFailed:
            # Not every server gives a commit by its id: then the whole history has it, or nothing.
            refs = refs or _refs(git, url)
            _fetch_all(git, url)
            if not _has(git, commit):
                raise _unknown(commit, refs) from None
    return _commit_of(git, commit)


def _fetched_abbreviated(git: Git, url: str, revision: str, refs: Mapping[str, str]) -> str:
    if not ABBREVIATED.fullmatch(revision):
        raise _unknown(revision, refs)
    _fetch_all(git, url)
    try:
        return _commit_of(git, revision)
    except GitFailed as error:
        if "ambiguous" in error.message:
            raise SourceError(f"revision '{revision}' is ambiguous: write more digits") from None
        raise _unknown(revision, refs) from None


def _fetch_all(git: Git, url: str) -> None:
    shallow = ("--unshallow",) if (git.mirror / "shallow").exists() else ()
    branches_and_tags = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    git.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *shallow, "--", url, *branches_and_tags)


def _has(git: Git, commit: str) -> bool:
    try:
        git.run("cat-file", "-e", f"{commit}^{{tree}}")
    except GitFailed:
        return False
    return True


def _commit_of(git: Git, name: str) -> str:
    try:
        return git.run("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()
    except GitFailed as error:
        if "ambiguous" in error.message:
            raise
        raise GitFailed(f"{name} is not a commit") from error


def _unknown(revision: str, refs: Mapping[str, str]) -> SourceError:
    names = [re.sub(r"^refs/(heads|tags)/", "", ref) for ref in refs if re.match(r"refs/(heads|tags)/[^^]+$", ref)]
    close = difflib.get_close_matches(revision, names, n=SUGGESTIONS, cutoff=0.5) or names[:SUGGESTIONS]
    hint = f"did you mean {', '.join(close)}?" if close else None
    return SourceError(f"the repository has no revision '{revision}'", hint=hint)


# ------------------------------------------------------------------------------------------------ what is in it


@dataclass(frozen=True, slots=True)
class _Blob:
    mode: str
    oid: str
    path: str


def _root(git: Git, commit: str, subdirectory: str) -> str:
    """The id of the directory of the commit that is the app."""
    parts = [part for part in subdirectory.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if ".." in parts:
        raise SourceError(f"subdirectory '{path}' leaves the repository")
    try:
        root = git.run("rev-parse", "--verify", "--end-of-options", f"{commit}:{path}").strip()
        return git.run("rev-parse", "--verify", "--end-of-options", f"{root}^{{tree}}").strip()
    except GitFailed as error:
        raise SourceError(f"subdirectory '{path}': there is no such directory in commit {commit[:12]}") from error


def _read_objects(git: Git, tree: Tree, root: str) -> None:
    blobs = list(_listed(git, root))
    with git.streaming("cat-file", "--batch", feed=[blob.oid for blob in blobs]) as stream:
        for blob in blobs:
            _read_blob(tree, blob, stream)


def _listed(git: Git, root: str) -> Iterator[_Blob]:
    size = 0
    with git.streaming("ls-tree", "-r", "-l", "-z", "--full-tree", root) as stream:
        for number, record in enumerate(_split(stream)):
            described, _, path = record.partition("\t")
            mode, kind, oid, length = described.split()
            if kind == "commit":
                raise SourceError(f"{shown(path)} is a submodule; submodules are not fetched", hint=NOT_FETCHED_HINT)
            size += int(length) if length.isdigit() else 0
            if number >= git.limits.files or size > git.limits.bytes:
                raise SourceError(f"it has more than {git.limits.files:,} files or {git.limits.bytes:,} bytes; a bomb?")
            yield _Blob(mode, oid, path)


NOT_FETCHED_HINT = "put the content into the repository itself, or deploy an archive that has it"


def _split(stream: IO[bytes]) -> Iterator[str]:
    rest = b""
    while chunk := stream.read(64 * 1024):
        *records, rest = (rest + chunk).split(b"\0")
        for record in records:
            yield record.decode("utf-8", "surrogateescape")


def _read_blob(tree: Tree, blob: _Blob, stream: IO[bytes]) -> None:
    header = stream.readline().decode().split()
    if len(header) != 3 or header[:2] != [blob.oid, "blob"]:
        raise SourceError(f"the content of {shown(blob.path)} is missing in the repository")
    if ".git" in blob.path.lower().split("/"):
        raise SourceError(f"{shown(blob.path)} is not a name that git itself would accept")
    size = int(header[2])
    content = chunks_of(stream, size)
    if size <= LFS_LARGEST:
        small = b"".join(content)
        if small.startswith(LFS_POINTER):
            raise SourceError(f"{shown(blob.path)} is a Git LFS pointer; LFS is not fetched", hint=NOT_FETCHED_HINT)
        content = iter((small,))
    if blob.mode == LINK:
        tree.add_link(blob.path, b"".join(content).decode("utf-8", "surrogateescape"))
    else:
        tree.add_file(blob.path, content, executable=blob.mode == EXECUTABLE)
    stream.read(1)
