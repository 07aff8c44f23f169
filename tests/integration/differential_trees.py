"""File systems of two hosts, compared byte for byte."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from opsflow.model.machine import Machine

CHANCE = re.compile(
    rb"\d{4}-?\d\d-?\d\d[T_.-]?[\d:.-]{6,}(?:Z|\+00:00)?|\b\d{10}(?:\.\d+)?\b"
    rb"|/tmp/pyinfra-[0-9a-f]{40}|/tmp/pyinfra\.\w{6}|installed on .*\)"
)
"""Backups and their like are named after the time; crontab notes when and from which file it came."""

BACKUP = re.compile(r"\.\*$")
"""Backups are named after the minute, and a later one replaces an earlier one: only that there is one is compared."""

NOT_COMPARED: Mapping[str, str] = {
    r"/etc/(hostname|hosts|ssh(/.*)?|resolv\.conf)": "a host's name and keys, which differ from the start",
    r"/root/\.ssh/authorized_keys": "how the tests log in",
    r"/run(/(sshd|lock|opsflow.*|lock/.*|user|utmp|sudo.*))?": "logins, and opsflow's lock and record of the run",
    r"/var/lib/opsflow.*": "opsflow's record of the run",
    r"/var/(log|lib/sudo|lib/lastlog)(/.*)?": "logins and the time of day",
    r"/tmp(/pyinfra-[0-9a-f]{40})?": "pyinfra leaves its uploads in /tmp, opsflow leaves nothing",
    r"/(var/)?tmp/opsflow\.\w+(/.*)?": "opsflow's own directory, which goes when its connection ends",
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "the backups that useradd and its like make",
    r".*/__pycache__(/.*)?": "Python puts the time of day into what it compiles",
    r"/(root|home/[^/]+)/\.cache(/.*)?": "caches of pip",
    r".*\.git/(worktrees/[^/]+/)?index": "git's index has inodes and times in it; the work trees are compared",
    r"/var/(cache|lib)/(apt|ldconfig|man)/.*(bin|aux-cache|lock|lists/partial.*)": "indexes with times in them",
}  # fmt: skip
"""Paths that are left out, and why that is no difference."""

WATCHED = ("/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var")
"""Where recipes usually write: compared after each run; everything is compared at the end."""

EVERYWHERE = (*WATCHED, "/bin", "/boot", "/lib", "/lib64", "/media", "/sbin", "/usr")

_LEFT_OUT = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_COMPARED))


@dataclass(frozen=True)
class Entry:
    """All of one file that has to be the same."""

    kind: str
    mode: str
    owner: str
    links: int
    content: bytes

    def __str__(self) -> str:
        return f"{self.kind} {self.mode} {self.owner} links={self.links} {self.content[:2000]!r}"


class Root:
    """The file system of one running sandbox, seen from outside."""

    def __init__(self, directory: Path, machine: Machine) -> None:
        record = json.loads((directory / "machines" / machine.id / "process.json").read_text())
        self.path = f"/proc/{record['pid']}/root"
        self._since = Path(f"{self.path}/run/sshd").stat().st_ctime

    def changed(self, below: Sequence[str] = WATCHED) -> dict[str, str]:
        """What has changed since the host was made, by name without chance: where it is.

        A directory that lost something counts as changed.
        """
        return {_plain(path): path for directory in below for path in self._walk(directory)}

    def entry(self, path: str) -> Entry | None:
        """What is there now."""
        whole = Path(f"{self.path}{path}")
        try:
            return self._entry(whole, whole.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def own_directories(self) -> list[str]:
        """Those that opsflow has, as long as it is connected."""
        found = (Path(f"{self.path}{folder}").glob("*opsflow.*") for folder in ("/tmp", "/var/tmp", "/run"))
        return [str(each) for folder in found for each in folder]

    def _walk(self, directory: str) -> Iterator[str]:
        try:
            found = list(os.scandir(f"{self.path}{directory}/"))
        except (FileNotFoundError, NotADirectoryError):
            return
        for each in found:
            name = f"{directory}/{each.name}"
            if _LEFT_OUT.fullmatch(name) and not each.is_dir(follow_symlinks=False):
                continue
            status = each.stat(follow_symlinks=False)
            if status.st_ctime >= self._since and not _LEFT_OUT.fullmatch(name):
                yield name
            if each.is_dir(follow_symlinks=False):
                yield from self._walk(name)

    def _entry(self, path: Path, status: os.stat_result) -> Entry:
        kind = stat.filemode(status.st_mode)[0]
        content = b""
        if kind == "-":
            content = _masked(path.read_bytes())
        elif kind == "l":
            content = os.fsencode(path.readlink())
        elif kind == "d":
            content = b" ".join(sorted({_masked(os.fsencode(each)) for each in self._listed(path)}))
        links = status.st_nlink if kind == "-" else 1
        return Entry(kind, f"{stat.S_IMODE(status.st_mode):o}", f"{status.st_uid}:{status.st_gid}", links, content)

    def _listed(self, path: Path) -> Iterator[str]:
        inside = str(path).removeprefix(self.path)
        for each in path.iterdir():
            if not _LEFT_OUT.fullmatch(f"{inside}/{each.name}"):
                yield each.name


def differences(left: Root, right: Root, below: Sequence[str] = WATCHED) -> list[str]:
    """What differs, a line a side."""
    with ThreadPoolExecutor(2) as pool:
        mine, theirs = pool.map(lambda root: root.changed(below), (left, right))
    found = []
    for name in sorted({*mine, *theirs}):
        if BACKUP.search(name) and name in mine and name in theirs:
            continue
        one, other = left.entry(mine.get(name) or theirs[name]), right.entry(theirs.get(name) or mine[name])
        if one != other:
            found += [f"- pyinfra {name}: {one}", f"+ opsflow {name}: {other}"]
    return found


def _masked(data: bytes) -> bytes:
    return CHANCE.sub(b"*", data)


def _plain(path: str) -> str:
    return _masked(os.fsencode(path)).decode(errors="backslashreplace")
