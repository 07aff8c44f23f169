"""^C: the first one cancels cleanly, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from opsflow.errors import ExitCode

if TYPE_CHECKING:
    from opsflow.cli.terminal import Terminal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptible:
    """While it is open, a signal sets ``cancel``; outside the main thread it does nothing."""

    def __init__(self, terminal: Terminal) -> None:
        self.cancel = threading.Event()
        self._terminal = terminal
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._interrupted) for number in SIGNALS}
        return self

    def __exit__(self, *details: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        # os.write: the handler may have interrupted a thread in the middle of a print, which holds the stream's lock.
        if self.cancel.is_set():
            self._say("forced: what was running is left as it is; the next command will say what happened")
            os._exit(ExitCode.INTERRUPTED)
        self.cancel.set()
        self._say("cancelling: waiting for the hosts to stop; ^C again forces it")

    def _say(self, text: str) -> None:
        # A live view may have hidden the cursor.
        show = "\x1b[?25h" if self._terminal.moving else ""
        try:
            os.write(self._terminal.error_stream.fileno(), f"{show}\r\n{text}\n".encode())
        except OSError:
            return
