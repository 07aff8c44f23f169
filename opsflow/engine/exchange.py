"""One exchange with a host's shell: what its frames mean, who is told, and what ends what takes too long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opsflow.engine import reread
from opsflow.engine.messages import FactAnswer
from opsflow.engine.session import LinkLost

if TYPE_CHECKING:
    from opsflow.engine.shell import Shell

KEPT = 10_000_000
"""Bytes of output kept of one command; the rest is counted."""
LARGEST_FACT = 64_000_000
"""Bytes of one fact: it cannot be cut without meaning something else."""
LEFTOVERS = 1.0
"""Seconds of silence after a command's exit; then a background process holds its output."""
FLOOD = 5.0
"""Seconds after a command's exit in which its output must end, even if a background process keeps printing."""
LOOK = 3.0
"""Seconds without a word after which it is looked whether the host's shell is swallowing a fact without end."""
GREETING = 90.0
"""Seconds for a new shell to say something: the login shell may be no shell at all, but login files may also wait for
each other, as those of version managers do when many log in at once."""
ENDING = 15.0
"""Seconds for a killed command to be reported by its shell."""


@dataclass(slots=True)
class Heard:
    """What is known of a command while it runs and after."""

    started: float
    relays: tuple[int, ...] = (0, 0)
    """Processes that carry its output: its own two (0: it has none), then those of the shell."""
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    exit_code: int | None = None
    exited: float | None = None
    ended: float | None = None
    killed: str = ""
    """Why it was ended, if it was."""
    note: str = ""
    """How it is known what became of it, when it was not heard."""
    partial: bool = False
    """Whether some of its output may be missing."""

    def add(self, stream: str, data: bytes) -> None:
        """Keep output up to the limit, count all of it."""
        kept: bytearray = getattr(self, stream)
        kept += data[: max(0, KEPT - len(self.stdout) - len(self.stderr))]
        setattr(self, f"{stream}_bytes", getattr(self, f"{stream}_bytes") + len(data))


@dataclass(slots=True)
class Exchange:
    """The result of one script."""

    facts: dict[str, FactAnswer] = field(default_factory=dict)
    commands: dict[int, Heard] = field(default_factory=dict)
    miss: tuple[int, int] | None = None
    """(operation, step) of a fact that was not as assumed; nothing after it has run."""
    until: tuple[int, int] | None = None
    """(operation, step) from which on nothing is known, when the script was not heard to its end."""
    words: list[list[str]] = field(default_factory=list)
    """Frames of other kinds."""
    stopped: str = ""
    """Why the host's shell was ended: the run's deadline, or cancelled."""
    lost: LinkLost | None = None
    """The connection or the shell ended in the middle; what is known until then is here."""
    noise: bytes = b""
    """What was printed where no command ran: a login shell's own messages."""

    @property
    def is_silent(self) -> bool:
        """Whether the host's shell has said nothing: it has not begun with the script."""
        return not (self.words or self.facts or self.commands) and self.miss is None


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a command or a run."""

    command: Callable[[int], float]
    """Seconds for a command, by its number."""
    deadline: float
    """Monotonic time at which the run ends."""
    cancel: threading.Event


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears what happens, as it happens."""

    started: Callable[[int], None] = lambda number: None
    output: Callable[[int, str, bytes], None] = lambda number, stream, data: None
    ended: Callable[[int, Heard], None] = lambda number, heard: None


class Hearing:
    """Listens until the script is done, and ends what takes too long."""

    def __init__(self, shell: Shell, limits: Limits, listener: Listener) -> None:
        self._shell = shell
        self._limits = limits
        self._listener = listener
        self._result = Exchange()
        self._done = [False, False]
        self._current: int | None = None
        self._current_error: int | None = None
        self._fact = bytearray()
        self._fact_errors: list[bytes] = []
        self._errors = bytearray()
        self._pending_facts: list[tuple[int, int, bytes]] = []
        self._began = self._quiet_since = self._fact_since = shell.now
        self._half_ended: set[int] = set()
        self._killed_at = self._looked = 0.0

    def listen(self) -> Exchange:
        """Listen to the end of the exchange, whichever it is."""
        try:
            while not all(self._done) and not self._result.stopped:
                self._hear_once()
        except LinkLost as error:
            self._result.lost = error
            for heard in self._result.commands.values():
                if heard.exited is None and not heard.killed:
                    heard.killed = "the connection was lost while it ran"
        self._result.noise = bytes(self._fact + self._errors)
        return self._result

    def _hear_once(self) -> None:
        out, err = self._shell.channel.read(self._wait())
        if out or err:
            self._quiet_since = self._shell.now
        outs, errs = self._shell.split(out, err)
        for item in outs:
            self._take_out(item)
        for item in errs:
            self._take_err(item)
        if not all(self._done):
            self._check_limits()

    def _wait(self) -> float:
        heard = self._heard()
        return 0.1 if heard is not None and heard.exited is not None else 0.5

    def _heard(self) -> Heard | None:
        return None if self._current is None else self._result.commands[self._current]

    def _begin(self, number: int) -> Heard:
        """The command, which either stream may announce first."""
        if number not in self._result.commands:
            self._result.commands[number] = Heard(self._shell.now)
            self._listener.started(number)
        return self._result.commands[number]

    def _hear(self, number: int, stream: str, data: bytes) -> None:
        self._result.commands[number].add(stream, data)
        self._listener.output(number, stream, data)

    # ------------------------------------------------------------------ standard output

    def _take_out(self, item: bytes | list[str]) -> None:
        if isinstance(item, bytes):
            if self._current is None:
                self._fact += item
                if len(self._fact) > LARGEST_FACT:
                    self._stop("a fact printed too much")
            else:
                self._hear(self._current, "stdout", item)
            return
        kind, *words = item
        handler: Mapping[str, Callable[[list[str]], None]] = {
            "s": self._started, "x": self._exited, "c": self._ended,
            "f": self._fact_read, "F": self._files_read, "w": self._fact_seen, "m": self._missed, "d": self._all,
        }  # fmt: skip
        if kind in handler:
            handler[kind](words)
        else:
            if kind == "h":
                self._fact.clear()  # what a login shell prints is nobody's answer
            self._shell.said(item)
            self._result.words.append(item)

    def _started(self, words: list[str]) -> None:
        self._current = int(words[0])
        self._begin(self._current).relays = tuple(int(word) for word in words[1:])
        self._fact.clear()

    def _exited(self, words: list[str]) -> None:
        heard = self._result.commands[int(words[0])]
        heard.exit_code, heard.exited = int(words[1]), self._shell.now

    def _ended(self, words: list[str]) -> None:
        number = int(words[0])
        heard = self._result.commands[number]
        heard.ended = self._shell.now
        if heard.exit_code is None:
            self._exited(words)
        self._current = None
        self._end_half(number)

    def _end_half(self, number: int) -> None:
        """Tell the listener when both streams have ended."""
        if number in self._half_ended:
            self._listener.ended(number, self._result.commands[number])
        self._half_ended.add(number)

    def _fact_read(self, words: list[str]) -> None:
        self._shell.numbers.took(int(words[0]), self._shell.now - self._fact_since)
        self._fact_since = self._shell.now
        number, code, *errors = words
        if errors:
            self._pending_facts.append((int(number), int(code), bytes(self._fact)))
        else:
            self._answered(int(number), int(code), bytes(self._fact), b"")
        self._fact.clear()
        self._match_facts()

    def _files_read(self, words: list[str]) -> None:
        """Facts about several files in one go, of which the shell keeps nothing."""
        code, *numbers = (int(word) for word in words)
        keys = [self._shell.numbers.key(number) for number in numbers]
        self._result.facts.update(reread.answers(keys, code, _text(bytes(self._fact))))
        for number in numbers:
            self._shell.numbers.drop(number)
        self._fact_since = self._shell.now
        self._fact.clear()

    def _fact_seen(self, words: list[str]) -> None:
        """A fact of which the shell keeps nothing."""
        number = int(words[0])
        self._answered(number, int(words[1]), bytes(self._fact), b"")
        self._shell.numbers.drop(number)
        self._fact_since = self._shell.now
        self._fact.clear()

    def _match_facts(self) -> None:
        while self._pending_facts and self._fact_errors:
            self._answered(*self._pending_facts.pop(0), self._fact_errors.pop(0))

    def _answered(self, number: int, code: int, out: bytes, errors: bytes) -> None:
        answer = FactAnswer(exit_code=code, stdout=_text(out), stderr=_text(errors))
        self._result.facts[self._shell.numbers.key(number)] = answer
        self._shell.numbers.hold(number, answer)

    def _missed(self, words: list[str]) -> None:
        self._result.miss = (int(words[0]), int(words[1]))

    def _all(self, _: list[str]) -> None:
        self._done[0] = True

    # ------------------------------------------------------------------ standard error

    def _take_err(self, item: bytes | list[str]) -> None:
        if isinstance(item, bytes):
            if self._current_error is None:
                self._errors += item[: max(0, KEPT - len(self._errors))]
            else:
                self._hear(self._current_error, "stderr", item)
            return
        kind, *words = item
        if kind == "s":
            self._current_error = int(words[0])
            self._begin(self._current_error)
        elif kind == "c":
            self._error_ended(int(words[0]))
        elif kind == "f":
            self._fact_errors.append(bytes(self._errors))
            self._errors.clear()
            self._match_facts()
        elif kind == "h":
            self._errors.clear()
            self._shell.greeted = True
        elif kind == "d":
            self._done[1] = True

    def _error_ended(self, number: int) -> None:
        """Nothing announces what a plain command prints here: it is seldom anything."""
        if self._current_error is None and self._errors:
            self._begin(number)
            self._hear(number, "stderr", bytes(self._errors))
            self._errors.clear()
        self._current_error = None
        self._end_half(number)

    # ------------------------------------------------------------------ limits

    def _check_limits(self) -> None:
        now, heard = self._shell.now, self._heard()
        if self._limits.cancel.is_set():
            self._stop("cancelled")
        elif self._limits.deadline and now > self._limits.deadline:
            self._stop("the run took too long")
        elif heard is None:
            self._check_silence(now)
        elif heard.exited is not None:
            if now - max(heard.exited, self._quiet_since) > LEFTOVERS or now - heard.exited > FLOOD:
                self._shell.drop_relays(heard)
                heard.exited = now
        elif heard.killed:
            if now - self._killed_at > ENDING:
                self._stop(heard.killed)
        elif now - heard.started > self._limits.command(self._current or 0):
            self._time_out(heard)

    def _check_silence(self, now: float) -> None:
        if not self._shell.greeted and now - self._began > GREETING:
            self._stop("its standard error leads nowhere" if self._shell.pid else "it said nothing")
        elif not all(self._done) and now - self._quiet_since > self._limits.command(-1):
            self._stop("a fact took too long")
        elif self._shell.pid and now - max(self._quiet_since, self._looked) > LOOK:
            if self._shell.holds_more_than(LARGEST_FACT * 8):
                self._stop("a fact printed too much")
            self._looked = self._shell.now

    def _time_out(self, heard: Heard) -> None:
        limit = self._limits.command(self._current or 0)
        gone = self._shell.kill(heard, whole=False)
        heard.killed = f"timed out after {limit:g} s" + (
            "; ended on the host" if gone else "; could NOT be ended on the host"
        )
        self._killed_at = self._shell.now

    def _stop(self, why: str) -> None:
        heard = self._heard()
        gone = self._shell.kill(heard, whole=True)
        self._result.stopped = why + ("; ended on the host" if gone else "; could NOT be ended on the host")
        if heard is not None and not heard.killed:
            heard.killed = self._result.stopped


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
