"""Compiles planned operations into one script for a host; the shell functions that it calls are in prelude."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from opsflow.engine.messages import CommandStep, FactStep, PlannedOperation, UploadStep
from opsflow.engine.prelude import done
from opsflow.engine.record import mark_of

SLOW = 0.03
"""Seconds. A wrong assumption costs a round trip and a plan, which is about as much."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact that this session's shell knows by number."""

    number: int
    key: str


class FactNumbers:
    """Gives each fact of a session its number, and tells the shell about new ones."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._seconds: dict[int, float] = {}

    def took(self, number: int, seconds: float) -> None:
        """Note how long the host needed for an answer."""
        self._seconds.setdefault(number, seconds)

    def slow(self, number: int) -> bool:
        """Whether it is cheaper to assume that the fact is as it was, and read it only where it matters."""
        return self._seconds.get(number, 0.0) > SLOW

    def number(self, key: str) -> int:
        """The fact's number."""
        return self._numbers.setdefault(key, len(self._numbers))

    def known(self, key: str) -> bool:
        """Whether the shell has been told about it."""
        return key in self._numbers

    def key(self, number: int) -> str:
        """The fact of a number."""
        return next(key for key, value in self._numbers.items() if value == number)


def fetch(keys: Sequence[str], numbers: FactNumbers) -> str:
    """Read facts: for each, its output, then ``f NUMBER EXIT_CODE``; at the end ``d``."""
    lines = []
    for key in keys:
        new = not numbers.known(key)
        number = numbers.number(key)
        if new:
            lines.append(f"_c{number}={shlex.quote(key)}")
        lines.append(f"_g {number}")
    return _at_once(lines)


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled script and what its frames mean."""

    text: str
    uploads: Mapping[int, UploadStep]
    """Number of a staged file -> the step; those without inline content must be staged before the script runs."""
    commands: Mapping[int, tuple[int, int]]
    """Number of a command -> (position in the operations, step)."""


def compile_operations(
    operations: Sequence[PlannedOperation], numbers: FactNumbers, staging: str, *, fresh: Collection[str]
) -> Program:
    """One script for the operations: every fact that matters is read again at its position, then the commands run.

    A fact is read again when a command of the script has run before it, when its own operation has a command after
    it, and when its answer is not ``fresh``. It stops at the first difference (``m OPERATION STEP``, then fresh facts
    for what is left, but for those that the host is slow to answer) and at the first command that fails.
    """
    body: list[str] = []
    staged: list[str] = []
    uploads: dict[int, UploadStep] = {}
    commands: dict[int, tuple[int, int]] = {}
    last_use: dict[int, int] = {}
    verified: set[int] = set()
    written = False
    for position, operation in enumerate(operations):
        last_write = max((i for i, step in enumerate(operation.steps) if not isinstance(step, FactStep)), default=-1)
        for index, step in enumerate(operation.steps):
            if isinstance(step, FactStep):
                number = numbers.number(step.key)
                last_use[number] = position
                matters = written or index < last_write or step.key not in fresh
                if matters and number not in verified:
                    body.append(f"_k {number} {position} {index} {step.mask} || return")
                    verified.add(number)
                continue
            command = len(commands)
            commands[command] = (position, index)
            source = "/dev/null"
            if isinstance(step, UploadStep):
                source = f"{staging}/{command}"
                uploads[command] = step
                if step.content is not None:
                    staged.append(_inline(source, step.content))
            text = f"{_arrived(source, step.size)}{step.script}" if isinstance(step, UploadStep) else step.script
            noted = f"'{operation.index} {mark_of(operation, step)}'"
            body.append(f"_x {command} {source} {noted} {shlex.quote(text)}\n{_check(step)}")
            if source != "/dev/null":
                body.append(f"rm -f {source}")
            verified.clear()
            written = True
    refresh = [
        f"[ $1 -gt {position} ] || _g {number}" for number, position in last_use.items() if not numbers.slow(number)
    ]
    text = "".join(staged) + "_R() { :\n" + "\n".join(refresh) + "\n}\n" + _at_once(body)
    return Program(text, uploads, commands)


def _check(step: CommandStep | UploadStep) -> str:
    codes = step.success_codes if isinstance(step, CommandStep) else (0,)
    return f"case $_r in {'|'.join(str(code) for code in codes)}) ;; *) return ;; esac"


def _arrived(path: str, size: int) -> str:
    """Refuse a staged file that is not whole: nobody looks at how staging it ended."""
    full = shlex.quote(f"{path}: the staged file is not whole; its directory is full or cannot be written")
    return f'[ "$(wc -c <{path})" -eq {size} ] || {{ echo {full} >&2; exit 1; }}\n'


def _inline(path: str, content: bytes) -> str:
    return f"base64 -d >{path} <<'_B64_'\n{base64.encodebytes(content).decode()}_B64_\n"


def _at_once(lines: Sequence[str]) -> str:
    """Nothing runs before all of it has arrived: a function, then its call."""
    return "_run() { :\n" + "\n".join(lines) + "\n}\n_run\n" + done()
