"""Hands a warm command to the prepared process of its project, when there is one that can run it as we would.

The console script comes here before anything is imported, so this module imports next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress

from opsflow.cli import request
from opsflow.engine.agent import places

PATIENCE = 2.0
"""Seconds that a prepared process may take for one step; then the command is run here."""
COMMANDS = frozenset(
    ("validate", "plan", "up", "run", "deploy", "undeploy", "rollback", "start", "stop", "reboot", "destroy", "status",
     "runs", "events", "explain", "facts", "exec")
)  # fmt: skip
"""Those that can be handed over. Not ssh, which takes the terminal over, nor those that look after this machine."""
ASKING = frozenset(("up", "destroy"))
"""Those that may ask; a question needs the terminal, which only its own session has."""
FORWARDED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH, signal.SIGUSR1,
    signal.SIGUSR2,
)  # fmt: skip
FATAL = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)
"""When the command is ended by one of these, we end in the same way."""
LOST = (
    "error: the prepared process that ran this command was ended in the middle; "
    "the next command will say what happened (opsflow runs)\n"
)


def handed_over(argv: Sequence[str]) -> int | None:
    """The exit code of a command that was run by a prepared process; None: nothing has begun, so run it here."""
    if not wanted(argv, os.environ) or not _possible():
        return None
    # A signal that comes before the command has begun is for whoever runs it then.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    try:
        begun = _begin(argv, sorted(blocked))
        if begun is None:
            return None
        woken = _watch_signals()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return _ended(_wait(*begun, woken))


# ------------------------------------------------------------------------------------------------ whether


def wanted(argv: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this command line asks for what is warm, and is one that can be handed over."""
    words = argv[: argv.index("--")] if "--" in argv else argv
    warm = "--warm" in words or environment.get("OPSFLOW_WARM") == "1"
    if not warm or "--cold" in words or environment.get("OPSFLOW_DEBUG") or "_OPSFLOW_COMPLETE" in environment:
        return False
    command = _command(words)
    if command in ASKING and "-y" not in words and "--yes" not in words:
        return not (os.isatty(0) and os.isatty(2))
    return command in COMMANDS


def _command(words: Sequence[str]) -> str:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif not word.startswith("-"):
            return word
        else:
            skip = word in ("-C", "--project")
    return ""


def _possible() -> bool:
    """Whether this system can do it, and has three streams to hand over."""
    if not hasattr(signal, "pidfd_send_signal") or not hasattr(socket, "SO_PEERCRED"):
        return False
    try:
        for descriptor in (0, 1, 2):
            os.fstat(descriptor)
    except OSError:
        return False
    return True


def _root(argv: Sequence[str]) -> str | None:
    """The project's directory, as far as it is cheap to find; another project's process would do the same for us."""
    start = os.getcwd()  # noqa: PTH109
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word in ("-C", "--project"):
            start = following
        elif word.startswith("--project="):
            start = word.removeprefix("--project=")
        elif word.endswith((".yml", ".yaml")) and "/" in word and os.path.isfile(word):  # noqa: PTH113
            start = os.path.dirname(word)  # noqa: PTH120
    directory = os.path.realpath(start)
    while not os.path.isdir(f"{directory}/stacks"):  # noqa: PTH112
        if directory == "/":
            return None
        directory = os.path.dirname(directory)  # noqa: PTH120
    return directory


# ------------------------------------------------------------------------------------------------ begin


def _begin(argv: Sequence[str], blocked: Sequence[int]) -> tuple[socket.socket, int] | None:
    """Have the command begin: what answers, and the descriptor of its process. None: it did not."""
    try:
        root = _root(argv)
        path = None if root is None else _socket(root)
        if path is None:
            return None
        with suppress(OSError, ValueError):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                process = _agreed(sock, path, request.own(argv, blocked))
            except BaseException:
                sock.close()
                raise
            sock.settimeout(None)
            return sock, process
    except OSError:
        pass  # no working directory, no permission: the command itself will say what is wrong
    return None


def _socket(root: str) -> str | None:
    for directory in places.candidates(os.environ, f"{root}/{places.STATE_DIRECTORY}/agent"):
        if not places.why_not_private(directory):
            path = places.prepared_socket(directory, root, os.environ)
            return path if os.path.exists(path) else None  # noqa: PTH110
    return None


def _agreed(sock: socket.socket, path: str, asked: dict[str, object]) -> int:
    """Hand everything over and say go; the descriptor of the process that begins.

    Raises:
        OSError: it did not begin.
        ValueError: the same.
    """
    sock.settimeout(PATIENCE)
    sock.connect(path)
    if places.peer(sock)[1] != os.geteuid():
        raise OSError("another user listens there")
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        request.send(sock, asked, (0, 1, 2, here))
    finally:
        os.close(here)
    answer = sock.recv(64)
    if not answer.startswith(request.READY):
        raise OSError("refused")
    process = os.pidfd_open(int(answer.removeprefix(request.READY)))
    try:
        sock.sendall(request.GO)
    except OSError:
        os.close(process)
        raise
    return process


# ------------------------------------------------------------------------------------------------ wait


def _watch_signals() -> int:
    """Have signals written to a pipe; those that we ignore stay ignored."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _noticed)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def _noticed(number: int, frame: object) -> None:
    """The pipe has it."""


def _wait(sock: socket.socket, process: int, woken: int) -> bytes:
    """Hand on signals until the command has ended; what was said about that."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(woken, select.POLLIN)
    said = b""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if woken in ready:
            for number in os.read(woken, 512):
                _hand_on(process, number)
        if sock.fileno() in ready:
            try:
                data = sock.recv(4096)
            except OSError:
                data = b""
            if not data:
                return said
            said += data


def _hand_on(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        if number != signal.SIGTSTP:
            signal.pidfd_send_signal(process, number)
            return
        # In a session without a terminal the soft stop does nothing.
        signal.pidfd_send_signal(process, signal.SIGSTOP)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, _noticed)
        signal.pidfd_send_signal(process, signal.SIGCONT)


def _ended(said: bytes) -> int:
    """The exit code that was told last, or the same signal."""
    words = said.split()
    if len(words) >= 2 and words[-2] == request.EXIT:  # noqa: PLR2004
        return int(words[-1])
    number = int(words[-1]) if words else 0
    if number in FATAL:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    with suppress(OSError):
        os.write(2, LOST.encode())
    return 1
