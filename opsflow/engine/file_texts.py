"""Shell texts of the facts about one file, as few processes as the same answer can be had for.

They are pyinfra's own commands without the subshells and without processes for what the shell knows itself; each tests
and runs the same things in the same order, so output and exit code are the same on any system. A text is built from
the path as the shell is to see it: a quoted word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import lru_cache

STAT = "user=%U group=%G mode=%A atime=%X mtime=%Y ctime=%Z size=%s %N"
BSD_STAT = "user=%Su group=%Sg mode=%Sp atime=%a mtime=%m ctime=%c size=%z %N%SY"

DIGESTS: Mapping[str, tuple[str, ...]] = {
    "sha1": ("sha1sum", "shasum", "sha1"),
    "sha256": ("sha256sum", "shasum -a 256", "sha256"),
    "sha384": ("sha384sum", "shasum -a 384", "sha384"),
    "md5": ("md5sum", "md5"),
}
"""Programs that print a digest, by family: the first is that of Linux, the others are of other systems."""

FAMILIES = ("stat", *DIGESTS)
"""What can be asked about many files at once."""
KEPT = 4096
"""Texts of which it is known what they are: those of a run list are the same on every host and in every run."""


def stat(word: str) -> str:
    """Print what `stat` says about a file that exists, or nothing."""
    return (
        f"! {{ test -e {word} || test -L {word}; }} || stat -c '{STAT}' {word} 2> /dev/null || "
        f"stat -f '{BSD_STAT}' {word} || ls -ld {word}"
    )


def digest(family: str, word: str) -> str:
    """Print the digest of a file that exists, or nothing."""
    programs = " || ".join(f"{program} {word} 2> /dev/null" for program in DIGESTS[family])
    return f"test -e {word} && {{ {programs}; }} || true"


def lines_with(grep: str, pattern: str, word: str, found: str) -> str:
    """Print the lines that match; when there are none and the file exists, print ``found``."""
    return (
        f"test -e {word} && {grep} -e {pattern} {word} 2> /dev/null || {{ {_exists(word)} && echo {found} || true; }}"
    )


def block(program: str, word: str, found: str, missing: str) -> str:
    """Print what ``program`` selects of the file, ``found`` when it cannot be read or ``missing``."""
    return f"test -e {word} && {program} {word} || {{ {_exists(word)} && echo {found} || echo {missing}; }}"


def _exists(word: str) -> str:
    """What `find WORD` would find out; it goes through directories, so there it has to run."""
    return f"{{ test -e {word} || test -L {word}; }} && {{ test ! -d {word} || find {word} -type f > /dev/null; }}"


_TEXTS = re.compile(r"(?:! \{ )?test -e (\S.*?) (?:\|\| test -L|&&) .*", re.DOTALL)


@lru_cache(KEPT)
def shape(key: str) -> tuple[str, str] | None:
    """The family and the path of a text of `stat` or `digest`; None for any other text."""
    match = _TEXTS.fullmatch(key)
    if match is None:
        return None
    word = match[1]
    family = next((each for each in FAMILIES if key == text_of(each, word)), None)
    path = plain(word)
    return None if family is None or path is None else (family, path)


_LINES = re.compile(
    r"test -e (?P<word>\S+|'[^']*') && "
    r"grep (?:-E )?-e (?:[A-Za-z0-9_./@%+:,=^-]|'[^']*'|\"'\"')+ (?P=word) 2> /dev/null \|\| "
    r"\{ \{ test -e (?P=word) \|\| test -L (?P=word); \} && \{ test ! -d (?P=word) \|\| "
    r"find (?P=word) -type f > /dev/null; \} && echo (?P<found>\S+|'[^']*') \|\| true; \}"
)


@lru_cache(KEPT)
def recognised(key: str) -> bool:
    """Whether it is a text of this module that takes its words as they are."""
    lines = _LINES.fullmatch(key)
    if lines is not None:
        return plain(lines["word"]) is not None and plain(lines["found"]) is not None
    return shape(key) is not None


def text_of(family: str, word: str) -> str:
    """The text of a family for one file."""
    return stat(word) if family == "stat" else digest(family, word)


def plain(word: str) -> str | None:
    """The path that a word of shell text means, when it is no more than one quoted path."""
    try:
        parts = shlex.split(word)
    except ValueError:
        return None
    return parts[0] if len(parts) == 1 and shlex.quote(parts[0]) == word else None
