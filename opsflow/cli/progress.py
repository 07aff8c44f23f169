"""What happens, as it happens: observers of the journal and of the hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from opsflow.cli import report
from opsflow.cli.logs import describe
from opsflow.cli.text import clean, cut, duration, one_line, width
from opsflow.model.result import OperationStatus
from opsflow.ports import HostEvent, OperationEnded, OperationStarted, OutputReceived, PhaseChanged

if TYPE_CHECKING:
    from opsflow.cli.terminal import Terminal
    from opsflow.clock import Clock
    from opsflow.model.journal import JournalEntry

STILL_RUNNING = 30.0
"""Seconds without news after which a plain log says that a host is still at it."""

QUIET_STATUSES = (OperationStatus.UNCHANGED, OperationStatus.NOT_RUN)


class Listener(Protocol):
    """Hears of everything, possibly from many threads at once."""

    def entry(self, entry: JournalEntry) -> None:
        """Something was written to the journal."""
        ...

    def host(self, event: HostEvent) -> None:
        """Something happened on a host."""
        ...


class Fan:
    """Hands everything on to several listeners, one call at a time."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._lock = threading.RLock()

    def entry(self, entry: JournalEntry) -> None:
        """Something was written to the journal."""
        with self._lock:
            for listener in self._listeners:
                listener.entry(entry)

    def host(self, event: HostEvent) -> None:
        """Something happened on a host."""
        with self._lock:
            for listener in self._listeners:
                listener.host(event)


class JsonLines:
    """One JSON object a line on stdout: journal entries and host events."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def entry(self, entry: JournalEntry) -> None:
        """``{"type": "journal", ...}``."""
        self._terminal.emit_line({"type": "journal", **report.entry(entry)})

    def host(self, event: HostEvent) -> None:
        """``{"type": "phase" | "operation_started" | "output" | "operation_ended", "instance": ...}``."""
        self._terminal.emit_line(_as_data(event))


def _as_data(event: HostEvent) -> dict[str, Any]:
    match event:
        case PhaseChanged():
            return {"type": "phase", "instance": event.instance, "phase": event.phase}
        case OperationStarted():
            return {"type": "operation_started", "instance": event.instance, "index": event.index,
                    "total": event.total, "name": event.name}  # fmt: skip
        case OutputReceived():
            text = event.data.decode(errors="backslashreplace")
            return {"type": "output", "instance": event.instance, "index": event.index, "stream": event.stream,
                    "data": text}  # fmt: skip
        case OperationEnded():
            return {"type": "operation_ended", "instance": event.instance, **report.operation(event.result)}


class OutputLines:
    """Puts bytes that arrive in pieces together to whole lines, per host and stream."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], bytes] = {}

    def add(self, event: OutputReceived) -> Iterator[str]:
        """The lines that are complete now."""
        key = (event.instance, event.stream)
        *whole, rest = (self._parts.get(key, b"") + event.data).split(b"\n")
        self._parts[key] = rest[-65536:]
        return (_decode(line) for line in whole)

    def rest(self, instance: str) -> Iterator[str]:
        """What is left of a host's output, without a newline at its end."""
        for key in [key for key in self._parts if key[0] == instance]:
            if line := self._parts.pop(key):
                yield _decode(line)


def _decode(line: bytes) -> str:
    # A progress bar draws over itself with carriage returns: what it shows last is what counts.
    return clean(line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="backslashreplace"))


class PlainLog:
    """Lines that stay: ``[app1] changed Install HAProxy``. ``write`` prints one.

    Those that opsflow itself says fit into ``columns``; what hosts print and diffs are shown whole.
    """

    def __init__(
        self,
        terminal: Terminal,
        write: Callable[[str], None],
        verbose: int,
        *,
        columns: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._terminal = terminal
        self._write = write
        self._verbose = verbose
        self._columns = columns
        self._lines = OutputLines()

    def entry(self, entry: JournalEntry) -> None:
        """A journal entry, on one line."""
        text = _said_of(entry.instance, one_line(entry.message))
        style = "red" if entry.kind.endswith(("failed", "lost", "expired")) else ""
        self._say(entry.instance, text, style)

    def host(self, event: HostEvent) -> None:
        """An operation that changed something or failed; with -v output, with -vv everything."""
        match event:
            case OperationEnded(instance, result):
                if self._verbose:
                    for line in self._lines.rest(instance):
                        self._line(instance, f"  {line}")
                if self._verbose > 1 or result.status not in QUIET_STATUSES:
                    self._line(instance, self._painted(event))
                for line in clean(result.diff).splitlines():
                    self._line(instance, f"  {self._diff(line)}")
            case OutputReceived(instance) if self._verbose:
                for line in self._lines.add(event):
                    self._line(instance, f"  {line}")
            case OperationStarted(instance, index, total, name) if self._verbose > 1:
                self._say(instance, f"{index + 1}/{total} {one_line(name)} ...")
            case PhaseChanged(instance, phase) if self._verbose > 1:
                self._say(instance, f"{one_line(phase)} ...")
            case _:
                pass

    def _painted(self, event: OperationEnded) -> str:
        status = event.result.status
        style = "red" if status is OperationStatus.FAILED else "dim" if status in QUIET_STATUSES else "green"
        word = status.value.replace("_", " ")
        text = describe(event.result, self._left(event.instance))
        return text.replace(word, self._terminal.paint(word, style), 1)

    def _diff(self, line: str) -> str:
        return self._terminal.paint(line, {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], ""))

    def _say(self, instance: str | None, text: str, style: str = "") -> None:
        self._line(instance, self._terminal.paint(cut(text, self._left(instance)), style))

    def _left(self, instance: str | None) -> int | None:
        """Columns beside the name of the instance; None when there is no limit."""
        columns = self._columns()
        return None if columns is None else columns - (width(f"[{one_line(instance)}] ") if instance else 0)

    def _line(self, instance: str | None, text: str) -> None:
        prefix = self._terminal.paint(f"[{one_line(instance)}]", "cyan") + " " if instance else ""
        self._write(prefix + text)


def _said_of(instance: str | None, message: str) -> str:
    """The message without the name that stands in front of the line anyway."""
    if not instance:
        return message
    return message.removeprefix(f"{instance} ").removeprefix(f"{instance}: ").replace(f" on {instance}", "", 1)


@dataclass
class Activity:
    """What a host is doing."""

    what: str
    since: float
    told: float


class Activities:
    """What every host is doing now, from host events; shared by the live view and the heartbeat."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now: dict[str, Activity] = {}

    def entry(self, entry: JournalEntry) -> None:
        """A command that is over ends its host's activity."""
        if entry.instance and entry.kind.startswith("command.") and not entry.kind.endswith(("started", "created")):
            with self._lock:
                self._now.pop(entry.instance, None)

    def host(self, event: HostEvent) -> None:
        """A phase or operation that begins is what the host does now."""
        match event:
            case PhaseChanged(instance, phase):
                self._set(instance, phase)
            case OperationStarted(instance, index, total, name):
                self._set(instance, f"{index + 1}/{total} {name}")
            case _:
                pass

    def _set(self, instance: str, what: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            self._now[instance] = Activity(one_line(what), now, now)

    def snapshot(self) -> list[tuple[str, str, float]]:
        """(instance, what, seconds), the longest first."""
        now = self._clock.monotonic()
        with self._lock:
            rows = [(name, activity.what, now - activity.since) for name, activity in self._now.items()]
        return sorted(rows, key=lambda row: -row[2])

    def overdue(self, after: float) -> list[tuple[str, str, float]]:
        """The same for hosts of which nothing was said for ``after`` seconds; they count as told."""
        now, found = self._clock.monotonic(), []
        with self._lock:
            for name, activity in self._now.items():
                if now - activity.told >= after:
                    activity.told = now
                    found.append((name, activity.what, now - activity.since))
        return found


class Heartbeat:
    """Says now and then in a plain log that a host is still at work, so that silence never looks like a hang."""

    def __init__(self, activities: Activities, write: Callable[[str], None], every: float = STILL_RUNNING) -> None:
        self._activities = activities
        self._write = write
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(1.0):
            self.tell()

    def tell(self) -> None:
        """Name the hosts that have been silent."""
        for instance, what, seconds in self._activities.overdue(self._every):
            self._write(f"[{instance}] still running after {duration(seconds)}: {what}")
