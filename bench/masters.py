"""Warm OpenSSH connections: one ControlMaster a host, held open."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.testbed import Testbed

SECONDS = 60
AT_ONCE = 10
"""Connections that are being opened at a time; it is not measured, so it need not be fast."""


class Masters:
    """Open connections to hosts, by the name that the testbed gives them."""

    def __init__(self, testbed: Testbed, name: str) -> None:
        self._sockets = testbed.directory / name
        self._sockets.mkdir()
        self.config = testbed.ssh_config(name, ControlPath=f"{self._sockets}/%n", ControlPersist="no")
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in self._running}

    def open(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self._running += pool.map(self._open, names)

    def _open(self, name: str) -> subprocess.Popen[bytes]:
        command = ["ssh", "-F", str(self.config), "-M", "-N", name]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS
        while not (self._sockets / name).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise SystemExit(f"bench: no connection to {name}: ssh exited with {process.wait()}")
            time.sleep(0.02)
        return process

    def close(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait()
        self._running.clear()


@contextmanager
def held(testbed: Testbed, name: str) -> Iterator[Masters]:
    """Warm connections to all hosts of the testbed."""
    masters = Masters(testbed, name)
    try:
        masters.open([host.name for host in testbed.everyone])
        yield masters
    finally:
        masters.close()


def on_all(config: Path, names: Sequence[str], script: str, at_once: int = AT_ONCE) -> dict[str, str]:
    """What a shell script prints on each host; it must succeed there."""

    def one(name: str) -> str:
        done = subprocess.run(["ssh", "-F", str(config), name, "sh -s"], input=script, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"bench: a script of the benchmark failed on {name}: {done.stderr.strip()}")
        return done.stdout

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))
