"""The run record of a host, read back: which commands of a run had begun, and how they ended.

The shell functions that write it are in ``host_record``. What is written there is only what identifies a command, so
no secret of a recipe is in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from opsflow.engine.messages import CommandStep, PlannedOperation, UploadStep

_MARK = re.compile(r"([0-9a-f]{16}\.[0-9a-f]{8})\.([0-9.]{1,9})")
_WORD = re.compile(r"[^\s\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Begun:
    """A command that a shell began."""

    run: str
    """The run of the controller."""
    shell: int
    """The session that began it, counted from 0."""
    number: int
    operation: int
    identity: str
    """What makes it the same command, see :func:`identity_of`."""
    limit: float
    """Seconds that the recipe allows it; 0 where it does not say."""
    uptime: float
    """Seconds since the boot of the host when it began."""
    code: int | None = None
    """Its exit code; None while it runs, and when nobody knows it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known on the host of one command of the controller."""

    commands: tuple[Begun, ...] = ()
    """In the order in which they began."""
    shells: tuple[int, ...] = ()
    """Process ids of the shells that worked on it, in order."""
    moment: str = ""
    """The time that its recipes saw."""
    origin: str = ""
    """The command of the controller that began it."""
    shell: int = 0
    """The last shell's process id."""
    running: bool = False
    """Whether its last command was still running when this was read."""
    uptime: float = 0.0
    """Seconds since the boot of the host when it was read."""

    @property
    def last(self) -> int:
        """The last operation of which a command began; -1 when none did."""
        return max((command.operation for command in self.commands), default=-1)

    def of(self, operation: int) -> tuple[Begun, ...]:
        """The commands of one operation."""
        return tuple(command for command in self.commands if command.operation == operation)

    @property
    def changed(self) -> frozenset[int]:
        """The operations of which a command ended well or may have."""
        return frozenset(command.operation for command in self.commands)


@dataclass
class _Reader:
    """Takes the lines in; one that was cut off by a full disk is no line."""

    commands: list[Begun] = field(default_factory=list)
    shells: list[int] = field(default_factory=list)
    moment: str = ""
    origin: str = ""
    run: str = "-"
    seen: set[tuple[str, str]] = field(default_factory=set)

    def take(self, line: str) -> None:
        kind, *words = line.split(" ")
        taker = {"s": self.shell, "b": self.began, "e": self.ended, "n": self.not_begun}.get(kind)
        if taker is not None and all(_WORD.fullmatch(word) for word in words):
            taker(words)

    def shell(self, words: Sequence[str]) -> None:
        if len(words) != 9 or not words[0].isdigit():
            return
        pid, start = words[:2]
        if (pid, start) in self.seen:
            # A record that moved to another directory is there twice, the second time with what came after.
            index = next(i for i, shell in enumerate(self.shells) if shell == int(pid))
            self.commands = [command for command in self.commands if command.shell < index]
            self.shells = self.shells[: index + 1]
        else:
            self.shells.append(int(pid))
            self.seen.add((pid, start))
        self.run, origin, moment = words[6:]
        self.origin, self.moment = self.origin or origin, self.moment or moment

    def began(self, words: Sequence[str]) -> None:
        mark = _MARK.fullmatch(words[2]) if len(words) == 4 else None
        if mark is None or not self.shells:
            return
        try:
            number, operation, limit, uptime = int(words[0]), int(words[1]), float(mark[2]), float(words[3])
        except ValueError:
            return
        self.commands.append(Begun(self.run, len(self.shells) - 1, number, operation, mark[1], limit, uptime))

    def ended(self, words: Sequence[str]) -> None:
        if self._last(words, 2):
            self.commands[-1] = replace(self.commands[-1], code=int(words[1]))

    def not_begun(self, words: Sequence[str]) -> None:
        if self._last(words, 1):
            self.commands.pop()

    def _last(self, words: Sequence[str], count: int) -> bool:
        """Whether these words are about the command that is running."""
        if len(words) != count or not all(word.isdecimal() and word.isascii() for word in words) or not self.commands:
            return False
        last = self.commands[-1]
        return last.code is None and last.number == int(words[0]) and last.shell == len(self.shells) - 1


def parse(text: str) -> Record:
    """What ``attend`` printed; whatever is not a line of a record is passed over."""
    first, _, lines = text.partition("\n")
    state, *words = first.split(" ")
    reader = _Reader()
    for line in lines.split("\n"):
        reader.take(line)
    try:
        uptime = float(words[1])
    except (IndexError, ValueError):
        uptime = 0.0
    return Record(
        commands=tuple(reader.commands),
        shells=tuple(reader.shells),
        moment="" if reader.moment == "-" else reader.moment,
        origin="" if reader.origin == "-" else reader.origin,
        shell=reader.shells[-1] if reader.shells else 0,
        running=state == "running" and bool(reader.commands) and reader.commands[-1].code is None,
        uptime=uptime,
    )


def name_of(owner: str, command: str) -> str:
    """The record's name on the host; the owner is a store's instance, whose command ids count."""
    return hashlib.sha256(f"{owner}\0{command}".encode()).hexdigest()[:32]


def mark_of(operation: PlannedOperation, step: CommandStep | UploadStep) -> str:
    """What the record says of a command that begins: its identity, and how long it may take."""
    return f"{identity_of(operation, step)}.{step.timeout or 0:.0f}"


def identity_of(operation: PlannedOperation, step: CommandStep | UploadStep) -> str:
    """What must be the same for it to be the same command of the same operation, also in another run."""
    text = step.identity
    if isinstance(step, UploadStep) and step.path is not None:
        # Its content is not in the plan, and its size says little.
        try:
            text += str(Path(step.path).stat().st_mtime_ns)
        except OSError:
            text += "-"
    return f"{_digest(text)[:16]}.{_digest(operation.identity)[:8]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


_FRAME = re.compile(r"\x1e[0-9a-f]{24} ([a-z]) ?([^\x1e]*)\x1e")


def rest_of(text: str, number: int) -> str:
    """The output of a command in what a shell could not send any more: frames and all."""
    begin, end = 0, len(text)
    for frame in _FRAME.finditer(text):
        if frame[2].split(" ")[0] != str(number) or frame[1] == "s":
            begin = frame.end()
        elif frame[1] == "c":
            end = frame.start()
            break
    return _FRAME.sub("", text[begin:end])
