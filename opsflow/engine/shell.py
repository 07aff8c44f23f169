"""The persistent shell on a host: a script goes there, frames come back."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from opsflow.clock import Clock
from opsflow.engine import host_record, prelude, script
from opsflow.engine.exchange import Exchange, Heard, Hearing, Limits, Listener
from opsflow.engine.frames import Frames
from opsflow.engine.messages import FactAnswer
from opsflow.engine.passwords import told
from opsflow.engine.record import Record, parse
from opsflow.engine.script import FactNumbers, Program
from opsflow.engine.session import Channel, Connection, LinkLost, ShellEnded

DIRECTORIES = "/run, /dev/shm, /tmp, /var/tmp and the home"


class HostBusy(Exception):
    """Another run holds the host's lock."""


class Interrupted(Exception):
    """The run ends while a file is being sent."""


class DirectoryGone(Exception):
    """The shell was kept from an earlier run, and the host has ended it or removed its directory; nothing was run."""


class NoShell(Exception):
    """The host cannot run the engine's shell; the message says why."""


class Shell:
    """One persistent ``sh`` on a host."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        """Open its channel; the shell is told what it needs to know together with the first script.

        Raises:
            LinkLost: the connection is gone.
        """
        self.connection = connection
        self._clock = clock
        self._nonce = secrets.token_hex(12)
        self._out, self._err = Frames(self._nonce), Frames(self._nonce)
        self.numbers = FactNumbers()
        self._passwords: dict[str, str] = {}
        self._first = prelude.prelude(self._nonce)
        # The login shell may be anything; exec sh is understood by all of them.
        self._channel: Channel = connection.channel("exec sh")
        self.pid, self.staging = 0, ""
        self.greeted = False
        """Whether both streams have brought something of ours: what comes before that is a login shell's."""
        self._locked = self._over = False
        self.begin()

    def begin(self) -> None:
        """Count anew: another run has it now."""
        self.round_trips = self.sent = self.received = 0
        self.staging = ""  # it may have been cleaned up since
        self.begun = 0
        """Commands that began in exchanges which came to their end."""

    def lock(self, owner: str, epoch: int, run: str, *, record: str = "", about: str = "", fresh: bool = True) -> None:
        """Take the host's lock before the next script; what is run is written into the run record of that name.

        The script is not run when somebody else holds the lock: whoever sends it gets HostBusy.
        """
        self._first += prelude.lock(owner, epoch, run, record=record, words=about, fresh=fresh)

    def leave(self, limits: Limits) -> bool:
        """End a run: give the lock back; whether the shell can be used for another one. If not, it is closed."""
        with suppress(HostBusy, NoShell, DirectoryGone):
            if self._locked and not self._over:
                self._exchange(f"{prelude.unlock()}{prelude.done()}", limits)
        if self._over or self._locked or not self.pid:
            self.close()
            return False
        self._first = ""
        return True

    def said(self, words: list[str]) -> None:
        """The shell told something about itself."""
        match words:
            case ["h", pid]:
                self.pid = int(pid)
            case ["S", directory]:
                self.staging = directory
            case ["l", "ok"]:
                self._locked = True
            case ["u"]:
                self._locked = False

    def attend(self, name: str, seconds: int, owner: str, epoch: int, limits: Limits) -> Record | None:
        """What became of the shell that writes this record; it begins nothing more, and its command is waited for.

        Raises:
            LinkLost: the connection is gone.
            Interrupted: cancelled, or the run took too long.
        """
        answer = self._ask(host_record.attend(name, seconds, owner, epoch), limits)
        return parse(answer.stdout) if answer.exit_code == 0 else None

    def rest(self, pid: int, stream: str, limits: Limits) -> str:
        """The end of a stream that another shell could not send, frames and all."""
        return self._ask(host_record.rest(pid, stream), limits).stdout

    def _ask(self, key: str, limits: Limits) -> FactAnswer:
        exchange = self._exchange(script.fetch([key], self.numbers), limits)
        if exchange.lost is not None:
            raise exchange.lost
        if key not in exchange.facts:
            raise Interrupted(exchange.stopped or "the host gave no answer")
        return exchange.facts[key]

    def know(self, passwords: Mapping[str, str]) -> None:
        """Give the shell the passwords that the next script mentions, together with it."""
        if passwords != self._passwords:
            self._passwords = dict(passwords)
            self._first += told(passwords)

    def end(self, pid: int) -> bool:
        """End another shell of our user with all that it runs; whether the host says that it is gone."""
        try:
            return self.connection.call(prelude.end_processes(pid, whole=True), 30) == 0
        except LinkLost:
            return False

    def fetch(self, keys: list[str], limits: Limits) -> Exchange:
        """Read facts."""
        return self._exchange(script.fetch(keys, self.numbers), limits)

    def run(self, program: Program, limits: Limits, listener: Listener) -> Exchange:
        """Stage what is large, then run a compiled script."""
        for number, upload in program.uploads.items():
            if upload.content is None and upload.path is not None:
                try:
                    self._stage(Path(upload.path), number, limits)
                except Interrupted as why:
                    self._over = True  # what the script would have told it, it does not know
                    return Exchange(stopped=str(why))
                except OSError:
                    # The script looks whether the file is whole, and says so at the operation that needs it.
                    continue
        exchange = self._exchange(program.text, limits, listener)
        if exchange.lost is None:
            self.begun += len(exchange.commands)
        return exchange

    def _stage(self, source: Path, number: int, limits: Limits) -> None:
        """Send a large file to the staging directory, which only our user can read."""

        def proceed() -> None:
            if limits.cancel.is_set():
                raise Interrupted("cancelled")
            if self.now > limits.deadline:
                raise Interrupted("the run took too long")

        if not self.staging:
            self._exchange(prelude.stage(), limits)
        with source.open("rb") as stream:
            self.connection.put(stream, f"{self.staging}/{number}", proceed)

    def close(self) -> None:
        """End the shell; it removes its directories and gives the lock back."""
        self._channel.close_input()
        with suppress(LinkLost):
            self._channel.exit_code(3)
        self._channel.close()

    # ------------------------------------------------------------------ the loop of an exchange

    def _exchange(self, text: str, limits: Limits, listener: Listener | None = None) -> Exchange:
        kept = self.greeted and not self.round_trips
        self.round_trips += 1
        data, self._first = (self._first + text).encode(), ""
        self.sent += len(data)
        with suppress(LinkLost):  # what it said before it ended is worth reading; then reading says why
            self._channel.send(data)
        exchange = Hearing(self, limits, listener or Listener()).listen()
        self._over = exchange.lost is not None or bool(exchange.stopped)
        if kept and isinstance(exchange.lost, ShellEnded) and exchange.is_silent:
            raise DirectoryGone
        self._refused(exchange)
        return exchange

    def _refused(self, exchange: Exchange) -> None:
        """Raise what kept the shell from running the script at all."""
        why = "" if self.greeted else _no_shell(exchange)
        for words in exchange.words:
            if words == ["D", "none"]:
                why = f"no directory on the host takes a FIFO: tried {DIRECTORIES}"
            if words == ["D", "gone"]:
                self._over = True
                raise DirectoryGone
            if words == ["l", "none"]:
                why = f"no directory on the host takes the lock: tried {DIRECTORIES}"
            if words[:2] == ["l", "held"]:
                self._over = True
                raise HostBusy(f"another run holds this host: run {words[3]} of {words[2].rpartition(':')[2]}")
        if why:
            self._over = True
            raise NoShell(why)

    def kill(self, heard: Heard | None, *, whole: bool) -> bool:
        """End the command that runs (with ``whole`` the shell too); whether the host says that it is gone."""
        if not self.pid:
            return False
        relays = heard.relays if heard is not None else ()
        try:
            return self.connection.call(prelude.end_processes(self.pid, whole=whole, relays=relays), 30) == 0
        except LinkLost:
            return False

    def holds_more_than(self, size: int) -> bool:
        """Whether the host's shell has more memory than so many bytes."""
        try:
            return self.connection.call(prelude.memory_of(self.pid, size), 30) == 1
        except LinkLost:
            return False

    def drop_relays(self, heard: Heard) -> None:
        """Cut off a background process that keeps a command's output open."""
        first, second, *_ = heard.relays
        if first and second:
            self.connection.call(f"kill -9 {first} {second}", 30)

    @property
    def channel(self) -> Channel:
        """The shell's channel."""
        return self._channel

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    def split(self, out: bytes, err: bytes) -> tuple[list[bytes | list[str]], list[bytes | list[str]]]:
        """Output and frames of both streams."""
        self.received += len(out) + len(err)
        return list(self._out.feed(out)), list(self._err.feed(err))


def _no_shell(first: Exchange) -> str:
    """Why the host cannot run the engine's shell; empty when it may be able to."""
    noise = " ".join(first.noise.decode(errors="backslashreplace").split())[:500]
    said = f"; it printed: {noise}" if noise else ""
    if isinstance(first.lost, ShellEnded):
        return f"the login shell of the SSH user does not run commands: {first.lost}{said}"
    if first.lost is None and not first.stopped.startswith(("cancelled", "the run")):
        return f"the login shell of the SSH user did not start sh: {first.stopped.partition(';')[0]}{said}"
    return ""
