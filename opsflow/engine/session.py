"""One SSH connection: strict host keys, authentication, channels. With packets.py the only user of paramiko."""

from __future__ import annotations

import base64
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from opsflow.absent import absent
from opsflow.engine.packets import CLOCK, Bell, Packets, ReadAhead
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine

with absent("invoke"):
    import paramiko

KEEPALIVE = 5
"""Seconds. With USER_TIMEOUT a dead peer is noticed within 20 s (faults.md P4: about 16 s)."""
USER_TIMEOUT = 10_000
"""Milliseconds that sent data may stay unacknowledged."""
SILENCE = 14.0
"""Seconds after a question in which a peer says nothing, and is given up: it is frozen, though its kernel acknowledges
what we send. Asked and looked at every KEEPALIVE seconds, so it is noticed within 20."""
ACKNOWLEDGED = KEEPALIVE + 3.0
"""Seconds since the last sign of life after which an idle connection is not trusted any more."""
IDLE_LOOK = 1.0
"""Seconds between two looks of an idle connection's thread at its timers; paramiko's own 0.1 costs 10 times as much."""
DRAIN = 2.0
"""Seconds of silence after a command's exit; then a background process holds its output."""
ESTABLISHED = 1
"""The state of a TCP connection that neither side has closed."""
NO_PACE: AbstractContextManager[None] = nullcontext()
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")

# What goes wrong is an error with a message of ours; paramiko's own log would print tracebacks on the terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Why(StrEnum):
    """Why a connection could not be made."""

    UNREACHABLE = "unreachable"
    DROPPED = "dropped"
    """The server took the connection and closed it before the login: it is busy (MaxStartups) or starting."""
    AUTHENTICATION = "authentication"
    HOST_KEY = "host_key"


class ConnectError(Exception):
    """No connection; the message is one line for the user."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


class LinkLost(Exception):
    """The connection ended while it was used."""


class ShellEnded(LinkLost):
    """What ran on the channel has ended; the connection itself stands."""


class Closing(Protocol):
    """Something that uses a connection and ends before it."""

    def close(self) -> None:
        """End it."""
        ...


class Connection:
    """An authenticated SSH connection to one machine."""

    def __init__(
        self,
        machine: Machine,
        ssh: Ssh,
        timeouts: Timeouts,
        handshake: AbstractContextManager[None] = NO_PACE,
    ) -> None:
        """Connect; ``handshake`` is entered for what comes after the TCP connection, until the login.

        Raises:
            ConnectError: unreachable, not authenticated, or the host key is not the expected one.
        """
        self.machine = machine
        self.ssh = ssh
        self.shell: Closing | None = None
        """A shell that stays open between two runs; ended with the connection."""
        self._name = f"{machine.user}@{machine.address}:{machine.port}"
        keys = _private_keys(machine, ssh)
        expected = [_public_key(line) for line in machine.host_keys]
        if not expected:
            raise ConnectError(Why.HOST_KEY, f"no host key of {self._name} is known, so it is not trusted")
        sock = self._dial(machine, timeouts)
        self._sock = sock
        with ExitStack() as undo:
            undo.callback(sock.close)
            with handshake:
                self._transport = self._handshake(sock, expected, timeouts)
                undo.callback(self._transport.close)
                self._authenticate(machine, keys, timeouts)
            undo.pop_all()
        sock.settimeout(IDLE_LOOK)

    def _dial(self, machine: Machine, timeouts: Timeouts) -> ReadAhead:
        if not machine.address:
            raise ConnectError(Why.UNREACHABLE, f"{machine.id} has no address")
        try:
            sock = socket.create_connection((machine.address, machine.port), timeouts.connect)
        except OSError as error:
            raise ConnectError(Why.UNREACHABLE, f"cannot connect to {self._name}: {_reason(error)}") from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        return ReadAhead.of(sock)

    def _handshake(self, sock: ReadAhead, expected: Sequence[paramiko.PKey], timeouts: Timeouts) -> paramiko.Transport:
        # SHA-1 signatures are refused in both directions (CVE-2026-44405).
        refused = {"keys": ["ssh-rsa"], "pubkeys": ["ssh-rsa"]}
        transport = paramiko.Transport(sock, disabled_algorithms=refused, packetizer_class=Packets)
        try:
            transport.banner_timeout = transport.handshake_timeout = timeouts.authentication
            _prefer(transport, expected)
            transport.start_client(timeout=timeouts.authentication)
            actual = transport.get_remote_server_key()
        except (paramiko.SSHException, EOFError, OSError, TimeoutError) as error:
            transport.close()
            message = f"no SSH handshake with {self._name}: "
            if _dropped(error):
                raise ConnectError(Why.DROPPED, message + _DROPPED) from None
            raise ConnectError(Why.UNREACHABLE, message + _reason(error)) from None
        if all(actual.asbytes() != key.asbytes() for key in expected):
            transport.close()
            raise ConnectError(
                Why.HOST_KEY,
                f"the host key of {self._name} is not the expected one: {actual.get_name()} {actual.fingerprint}; "
                "if the machine was replaced on purpose, remove the old key",
            )
        transport.packetizer.set_keepalive(KEEPALIVE, lambda: _ask(transport, sock))
        return transport

    def _authenticate(self, machine: Machine, keys: Sequence[paramiko.PKey], timeouts: Timeouts) -> None:
        self._transport.auth_timeout = timeouts.authentication
        if not keys:
            raise ConnectError(Why.AUTHENTICATION, f"no private key for {self._name}; set compute: ssh: key")
        reasons: list[str] = []
        for key in keys:
            try:
                self._transport.auth_publickey(machine.user, key)
            except (paramiko.SSHException, EOFError, OSError) as error:
                reasons.append(_reason(error))
            if self._transport.is_authenticated():
                return
            if not self._transport.is_active():
                break
        raise ConnectError(
            Why.AUTHENTICATION,
            f"{self._name} does not accept the key: {'; '.join(dict.fromkeys(reasons)) or 'refused'}",
        )

    @property
    def alive(self) -> bool:
        """Whether the connection still stands, as far as is known."""
        return self._transport.is_active()

    @property
    def healthy(self) -> bool:
        """Whether an idle connection can be trusted: its peer acknowledged the last keepalive. Costs no round trip."""
        return self.alive and _acknowledges(self._sock)

    def channel(self, command: str) -> Channel:
        """Start ``command`` on a new channel.

        Raises:
            LinkLost: the connection is gone.
        """
        try:
            channel = self._transport.open_session(timeout=30)
            channel.exec_command(command.encode())
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise LinkLost(f"lost the connection to {self._name}: {_reason(error)}") from None
        return Channel(channel, self._name)

    def call(self, command: str, timeout: float) -> int:
        """Run ``command`` in a POSIX shell on a channel of its own; its exit code.

        Raises:
            LinkLost: the connection is gone, or there is no answer within ``timeout`` seconds.
        """
        with self.channel("exec sh") as channel:
            channel.send(command.encode() + b"\n")
            channel.close_input()
            return channel.exit_code(timeout)

    def put(self, source: IO[bytes], path: str, proceed: Callable[[], None]) -> None:
        """Send a file to ``path``, which only our user can read (its directory is 0700).

        ``proceed`` is called now and then; what it raises ends the transfer.

        Raises:
            LinkLost: the connection is gone.
            OSError: the host could not write it.
        """
        what = f"cannot write {path} on {self._name}"
        try:
            with paramiko.SFTPClient.from_transport(self._transport) or _no_sftp() as sftp:
                sftp.putfo(source, path, callback=lambda done, size: proceed())
        except (paramiko.SSHException, EOFError) as error:
            if self.alive:
                raise OSError(f"{what}: {_reason(error)}; does its SSH server offer SFTP?") from None
            raise LinkLost(f"lost the connection to {self._name}: {_reason(error)}") from None
        except OSError as error:
            raise OSError(f"{what}: {_reason(error)}; is its disk full?") from None

    def close(self) -> None:
        """End the shell that it keeps, then the connection and all its channels."""
        shell, self.shell = self.shell, None
        if shell is not None and self.alive:
            with suppress(LinkLost):
                shell.close()
        self._transport.close()


class Channel:
    """One command on the host, with its standard streams."""

    def __init__(self, channel: paramiko.Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        # paramiko sets it whenever either stream has something to read, or has ended.
        self._news = Bell()
        channel.in_buffer.set_event(self._news)
        channel.in_stderr_buffer.set_event(self._news)

    def send(self, data: bytes) -> None:
        """Write to its standard input.

        Raises:
            LinkLost: the connection is gone.
        """
        try:
            self._channel.sendall(data)
        except (OSError, EOFError) as error:
            raise LinkLost(f"lost the connection to {self._name}: {_reason(error)}") from None

    def close_input(self) -> None:
        """End its standard input."""
        with suppress(OSError, EOFError):
            self._channel.shutdown_write()

    def read(self, wait: float) -> tuple[bytes, bytes]:
        """What has arrived on standard output and error; waits at most ``wait`` seconds for something.

        Raises:
            ShellEnded: what it runs has ended and everything was read.
            LinkLost: the connection is gone and everything was read.
        """
        if not self._ready() and not self._over:
            self._news.wait(wait)
        out = self._channel.recv(1 << 18) if self._channel.recv_ready() else b""
        err = self._channel.recv_stderr(1 << 18) if self._channel.recv_stderr_ready() else b""
        if not out and not err and self._over and not self._ready():
            raise self._end()
        return out, err

    def _end(self) -> LinkLost:
        """Why nothing comes any more. The exit code follows the end of the output."""
        if self._channel.status_event.wait(2) and self._channel.get_transport().is_active():
            return ShellEnded(f"the shell on {self._name} ended with {_how(self._channel.recv_exit_status())}")
        return LinkLost(f"lost the connection to {self._name}")

    def _ready(self) -> bool:
        return self._channel.recv_ready() or self._channel.recv_stderr_ready()

    @property
    def _over(self) -> bool:
        """Whether nothing more arrives."""
        return bool(self._channel.eof_received or self._channel.closed)

    @property
    def ended(self) -> bool:
        """Whether what it runs has ended; something in the background may still print."""
        return self._channel.status_event.is_set()

    def exit_code(self, timeout: float) -> int:
        """Its exit code; waits at most ``timeout`` seconds for it.

        Raises:
            LinkLost: there is none.
        """
        if not self._channel.status_event.wait(timeout):
            raise LinkLost(f"no answer from {self._name} within {timeout:g} s")
        code = self._channel.recv_exit_status()
        if code == -1:
            raise self._end()
        return code

    def close(self) -> None:
        """Close it; what it runs loses its standard streams."""
        with suppress(OSError, EOFError):  # the connection has ended, and its thread has not seen it yet
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def fetch_host_key(address: str, port: int, timeout: float) -> str:
    """The key that a host shows now, as an OpenSSH public key. Nothing proves that it is the right one.

    Raises:
        ConnectError: it does not answer.
    """
    try:
        with socket.create_connection((address, port), timeout) as sock, paramiko.Transport(sock) as transport:
            transport.start_client(timeout=timeout)
            key = transport.get_remote_server_key()
            return f"{key.get_name()} {key.get_base64()}"
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ConnectError(Why.UNREACHABLE, f"no SSH handshake with {address}:{port}: {_reason(error)}") from None


def stream(channel: Channel, output: Callable[[str, bytes], None], *, deadline: Callable[[], float]) -> int | None:
    """Pass on what a command prints; its exit code, or None when ``deadline`` (seconds left) has passed.

    A background process that keeps its output open is not waited for.

    Raises:
        LinkLost: the connection is gone.
    """
    while deadline() > 0:
        before = channel.ended
        try:
            out, err = channel.read(min(DRAIN if before else 0.5, max(0.0, deadline())))
        except LinkLost:
            return channel.exit_code(5)
        for name, data in (("stdout", out), ("stderr", err)):
            if data:
                output(name, data)
        if before and not out and not err:
            return channel.exit_code(0)
    return None


def _prefer(transport: paramiko.Transport, expected: Sequence[paramiko.PKey]) -> None:
    """Ask the server for a kind of host key that we know, and for fast and modern algorithms first."""
    options = transport.get_security_options()
    names = {key.get_name() for key in expected}
    known = [
        name for name in options.key_types if name in names or (name.startswith("rsa-sha2") and "ssh-rsa" in names)
    ]
    if known:
        options.key_types = known
    options.kex = sorted(options.kex, key=lambda name: not name.startswith("curve25519"))
    options.ciphers = sorted(options.ciphers, key=lambda name: not name.startswith("aes128-gcm"))


def _public_key(line: str) -> paramiko.PKey:
    kind, data = line.split()[:2]
    try:
        return paramiko.PKey.from_type_string(kind, base64.b64decode(data))
    except (paramiko.SSHException, ValueError, IndexError) as error:
        raise ConnectError(Why.HOST_KEY, f"a host key cannot be read: {_reason(error)}") from None


def _private_keys(machine: Machine, ssh: Ssh) -> list[paramiko.PKey]:
    named = machine.key_file or ssh.key
    if named:
        return [_private_key(Path(named).expanduser())]
    found = [path for name in DEFAULT_KEYS if (path := Path.home() / ".ssh" / name).is_file()]
    return [*paramiko.Agent().get_keys(), *(_private_key(path) for path in found)]


def _private_key(path: Path) -> paramiko.PKey:
    try:
        status = path.stat()
        return _parsed(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    except paramiko.PasswordRequiredException:
        message = f"the private key {path} has a passphrase; add it to an agent: ssh-add {path}"
    except FileNotFoundError:
        message = f"there is no private key {path}"
    except (paramiko.SSHException, OSError, ValueError, TypeError) as error:
        message = f"the private key {path} cannot be read: {_reason(error)}"
    raise ConnectError(Why.AUTHENTICATION, message) from None


@lru_cache(maxsize=64)
def _parsed(path: Path, version: tuple[int, ...]) -> paramiko.PKey:
    """The key in a file; every connection of a run needs it, and reading it costs as much as a signature."""
    return paramiko.PKey.from_path(path)


_DROPPED = "it closed the connection before the login: it takes no more at once (MaxStartups), or only starts"


def _dropped(error: BaseException) -> bool:
    """Whether the server closed the connection, as one with too many logins in progress does."""
    text = str(error)
    banner = text.startswith("Error reading SSH protocol banner") and "timed out" not in text
    return isinstance(error, EOFError | ConnectionError) or banner or text == "Negotiation failed."


def _ask(transport: paramiko.Transport, sock: ReadAhead) -> None:
    """Ask the peer for any answer, from the transport's own thread.

    paramiko's own keepalive wants none, and so cannot tell a frozen server from a silent one.

    Raises:
        EOFError: it has not said anything for long.
    """
    now = CLOCK.monotonic()
    if sock.heard >= sock.asked:
        sock.asked = now
    elif now - sock.asked > SILENCE:
        raise EOFError("it does not answer any more")
    question = paramiko.Message()
    question.add_byte(paramiko.common.cMSG_GLOBAL_REQUEST)
    question.add_string("keepalive@openssh.com")
    question.add_boolean(True)
    # There is no other way to want an answer without waiting for it.
    transport._send_user_message(question)  # type: ignore[attr-defined]  # noqa: SLF001


def _acknowledges(sock: socket.socket) -> bool:
    """Whether the peer acknowledged lately what was sent, as far as this system tells (``struct tcp_info``)."""
    if not hasattr(socket, "TCP_INFO"):
        return True
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    except OSError:
        return False
    state, _, retransmits = struct.unpack_from("BBB", info)
    (silent,) = struct.unpack_from("I", info, 56)
    return state == ESTABLISHED and not retransmits and silent < ACKNOWLEDGED * 1000


def _how(code: int) -> str:
    return "a signal" if code < 0 else f"exit code {code}"


def _no_sftp() -> paramiko.SFTPClient:
    raise paramiko.SSHException("its SSH server offers no SFTP")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
