"""Keeps the traceback of a defect for a report: a file that only the user can read, without secrets."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Sequence
from pathlib import Path

from opsflow.cli.about import program_version
from opsflow.cli.argv import given_values, shown
from opsflow.clock import SystemClock
from opsflow.redact import Redactor
from opsflow.wiring import STATE_DIRECTORY, find_root

# Variables with such names hold secrets often enough to mask their values wherever they show up.
_SECRET_NAMES = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL")


def save(error: BaseException, argv: Sequence[str]) -> Path | None:
    """Write the traceback below the project's state directory; None when there is no project to keep it in."""
    root = find_root(_start(argv).resolve())
    if root is None:
        return None
    text = "\n".join(
        (
            f"opsflow {program_version()}, Python {platform.python_version()}, {platform.platform()}",
            f"command: {shown(argv)}",
            "",
            "".join(traceback.format_exception(error)),
        )
    )
    path = root / STATE_DIRECTORY / f"crash-{SystemClock().now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_redactor(argv).text(text))
    except OSError:
        return None
    return path


def _start(argv: Sequence[str]) -> Path:
    """Where the project is looked for: --project as it was typed, else the working directory."""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word in ("-C", "--project"):
            return Path(following)
        if word.startswith("--project="):
            return Path(word.removeprefix("--project="))
    return Path.cwd()


def _redactor(argv: Sequence[str]) -> Redactor:
    named = (value for name, value in os.environ.items() if any(part in name.upper() for part in _SECRET_NAMES))
    return Redactor([*named, *given_values(argv)])
