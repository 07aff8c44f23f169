"""The command line as it was typed, for the lock, the journal and crash reports: without the values of --set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

MASK = "..."


def shown(argv: Sequence[str]) -> str:
    """``opsflow run shop setup --set db.password=...``."""
    return shlex.join(["opsflow", *_masked(argv)]).replace(shlex.quote(MASK), MASK)


def _masked(argv: Sequence[str]) -> Iterator[str]:
    before = ""
    for word in argv:
        setting = word if before == "--set" else word.removeprefix("--set=") if word.startswith("--set=") else ""
        key, separator, value = setting.partition("=")
        yield word.removesuffix(value) + MASK if separator and key and value else word
        before = word


def given_values(argv: Sequence[str]) -> list[str]:
    """The values of every --set: they may be secret."""
    pairs = zip(argv, [*argv[1:], ""], strict=True)
    settings = [word.removeprefix("--set=") for word in argv if word.startswith("--set=")]
    settings += [following for word, following in pairs if word == "--set"]
    return [setting.partition("=")[2] for setting in settings]
