"""Every error of opsflow, split by whose fault it is.

::

    OpsflowError                    exit 1
    ├── UsageError                  exit 64   the command line is wrong
    ├── ConfigError                 exit 65   a file of the user is wrong; carries all problems of the file
    │   └── RecipeError             exit 65   a recipe cannot be found, imported or used
    ├── StalePlan                   exit 65   a saved plan was made from something that has changed
    ├── MissingExtra                exit 64   an optional dependency is not installed
    ├── RunFailed                   exit 1    a recipe failed on at least one host
    ├── HostsUnreachable            exit 69   nothing failed but some hosts could not be reached
    ├── LockHeld                    exit 75   another process holds the store
    ├── StoreError                  exit 1    the store cannot be read or written
    ├── ProviderError               exit 1    the machine provider refused or failed
    │   ├── CapabilityError         exit 1    this system cannot run the provider (no root, no namespaces ...)
    │   └── CannotRestart           exit 1    the provider cannot restart machines
    ├── SourceError                 exit 1    an app's source cannot be fetched or is not safe
    └── IllegalTransition           exit 1    our fault: the lifecycle table forbids it
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum


def closest(name: str, candidates: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The candidate that is most like ``name``, if one is like it at all."""
    return next(iter(difflib.get_close_matches(name, list(candidates), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, candidates: Iterable[str]) -> str | None:
    """A question with the candidate that is most like ``name``, to be shown as a hint."""
    close = closest(name, candidates)
    return None if close is None else f"did you mean '{close}'?"


class ExitCode(IntEnum):
    """What the process exits with; the numbers never overlap and are part of the interface."""

    OK = 0
    FAILED = 1
    CHANGES_PENDING = 2
    USAGE = 64
    BAD_INPUT = 65
    UNREACHABLE = 69
    LOCK_HELD = 75
    INTERRUPTED = 130


class OpsflowError(Exception):
    """Root of all errors that a user may see; the message is complete and needs no traceback."""

    exit_code: ExitCode = ExitCode.FAILED
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint


class UsageError(OpsflowError):
    """The command line names something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in one file.

    Attributes:
        file: path as the user wrote it.
        line: 1-based; None when the whole file is meant.
        column: 1-based.
        path: where in the document, such as ``layers/app/instances/app1/runs``.
        message: what is wrong.
        hint: what would be right.
        snippet: the source line, shown with a caret under ``column``.
    """

    file: str
    message: str
    line: int | None = None
    column: int | None = None
    path: str = ""
    hint: str | None = None
    snippet: str | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{where}: {self.path + ': ' if self.path else ''}{self.message}"
        if self.snippet is not None:
            text += "".join(f"\n    {line}" for line in _pointed(self.snippet, self.column))
        if self.hint:
            text += f"\n    {self.hint}"
        return text


WIDEST_SNIPPET = 120


def _pointed(snippet: str, column: int | None) -> tuple[str, ...]:
    """The line, or the part of a long one around ``column``, and a caret below it."""
    at = (column or 1) - 1
    start = max(0, at - WIDEST_SNIPPET // 2) if len(snippet) > WIDEST_SNIPPET else 0
    end = start + WIDEST_SNIPPET
    left, right = "..." if start else "", "..." if end < len(snippet) else ""
    line = "".join(char if char.isprintable() else " " for char in snippet[start:end])
    shown = left + line + right
    if column is None:
        return (shown,)
    return shown, " " * (len(left) + sum(_width(char) for char in line[: at - start])) + "^"


def _width(char: str) -> int:
    """Columns of a terminal that a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class ConfigError(OpsflowError):
    """A file of the user is wrong. All problems of the file are in :attr:`problems`."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(ConfigError):
    """A recipe cannot be found, imported, or uses something that opsflow does not support."""


class StalePlan(OpsflowError):
    """A saved plan was made from files or a state that have changed since."""

    exit_code = ExitCode.BAD_INPUT


class MissingExtra(OpsflowError):
    """An optional dependency is needed and not installed."""

    exit_code = ExitCode.USAGE

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency", hint=f"pip install 'opsflow[{extra}]'")


class RunFailed(OpsflowError):
    """A recipe failed on at least one host."""


class HostsUnreachable(OpsflowError):
    """No recipe failed, but some hosts could not be reached."""

    exit_code = ExitCode.UNREACHABLE


class LockHeld(OpsflowError):
    """Another process owns the store; the message says who, since when and what for."""

    exit_code = ExitCode.LOCK_HELD


class StoreError(OpsflowError):
    """The store cannot be read or written."""


class ProviderError(OpsflowError):
    """The machine provider refused a request or failed."""


class CapabilityError(ProviderError):
    """This system cannot run the provider; the message says what is missing and what to do instead."""


class CannotRestart(ProviderError):
    """The provider has no power over its machines; the hint says how to restart them."""

    def __init__(self, provider: str, stack: str, instance: str = "NAME") -> None:
        super().__init__(
            f"opsflow cannot restart machines of the provider '{provider}'",
            hint=f"opsflow exec {stack} --only {instance} -- reboot; when it answers again: opsflow up {stack}",
        )


class SourceError(OpsflowError):
    """The source of an app cannot be fetched, does not match its checksum or is not safe to unpack."""


class IllegalTransition(OpsflowError):
    """The lifecycle table has no such transition: a defect of opsflow, not of the user."""
