"""A prepared process whose commands only tell what they see, and its client, each a process of its own.

``serve SOCKET`` prepares; ``ask SOCKET [WORD ...]`` hands over, or exits with 99: nothing was handed over.
"""

from __future__ import annotations

import json
import locale
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from opsflow.cli import handover, prepared

DECLINED = 99


def seen() -> dict[str, Any]:
    """All that a command can see of its process."""
    return {
        "pid": os.getpid(),
        "name": Path("/proc/self/comm").read_text(),
        "argv": sys.argv,
        "directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "zone": time.tzname,
        "locale": locale.setlocale(locale.LC_ALL),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "processors": sorted(os.sched_getaffinity(0)),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "ignored": [n for n in (1, 2, 3, 15, 13, 20) if signal.getsignal(n) is signal.SIG_IGN],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "streams": [
            (s.encoding, s.errors, s.line_buffering, s.isatty(), s.write_through, s.newlines, s.name, s.mode)
            for s in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "descriptors": sorted(Path(f"/proc/self/fd/{n}").exists() and n for n in range(3, 50)),
        "threads": threading.active_count(),
        "main": threading.current_thread() is threading.main_thread(),
        "random": random.random(),
        "mask": _mask(),
    }


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def command() -> int:
    """The words after the command say what to do."""
    match sys.argv[2:]:
        case ["tell", *_]:
            print(json.dumps(seen()))
        case ["echo", *_]:
            sys.stdout.write(sys.stdin.read())
            sys.stdout.flush()
            sys.stderr.write("done\n")
        case ["exit", code, *_]:
            return int(code)
        case ["signal", number, *_]:
            os.kill(os.getpid(), int(number))
        case ["at_once", *_]:
            os._exit(7)
        case ["raise", *_]:
            raise RuntimeError("broken")
        case ["size", *_]:
            print(os.get_terminal_size(sys.__stdout__.fileno()).columns, sys.stdout.isatty())
        case ["wait", file, *_]:
            return _wait(Path(file))
        case words:
            raise AssertionError(words)
    return 0


def _wait(file: Path) -> int:
    """Wait for a signal, and write down which; the first interrupt is taken, as a run does."""
    got: list[int] = []
    for number in (signal.SIGINT, signal.SIGWINCH, signal.SIGTERM):
        signal.signal(number, lambda number, frame: got.append(number))
    file.write_text(str(os.getpid()))
    while not got:
        time.sleep(0.01)
    file.write_text(f"signal {got[0]}")
    return 100 + got[0]


def serve(path: str) -> None:
    with prepared.reading(os.environ) as read:
        from opsflow.cli import program

    program.main = command
    prepared.serve(read, Path(path), os.dup(0))


def ask(path: str, words: list[str]) -> int:
    sys.argv = ["opsflow", *words]
    directory = str(Path(path).parent)
    handover.places.prepared_socket = lambda found, *_: path if found == directory else "/nowhere"
    code = handover.handed_over(words)
    return DECLINED if code is None else code


def intrude(path: str) -> int:
    """Connect as somebody else; how many bytes are answered."""
    os.setresuid(65534, 65534, 65534)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        return len(sock.recv(100))


if __name__ == "__main__":
    what, path, *words = sys.argv[1:]
    if what == "serve":
        serve(path)
    else:
        raise SystemExit(ask(path, words) if what == "ask" else intrude(path))
