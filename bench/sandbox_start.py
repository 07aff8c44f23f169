"""How long it takes until N sandboxes answer over SSH, and until nothing is left of them.

Usage: python bench/sandbox_start.py [N]     (needs root; default 20)
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from opsflow.clock import SystemClock
from opsflow.model.machine import Machine, MachineRequest
from opsflow.providers.compute.sandbox import SandboxProvider


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", type=int, default=20)
    number = parser.parse_args().number
    with tempfile.TemporaryDirectory(prefix="opsflow-bench-") as directory, ThreadPoolExecutor(20) as pool:
        provider = SandboxProvider(Path(directory) / ".opsflow/sandbox", SystemClock())
        requests = [
            MachineRequest(token=f"bench-{index:04d}", stack="bench", instance=f"app{index}") for index in range(number)
        ]
        machines: list[Machine] = []
        try:
            with timed(f"{number} sandboxes until each sends its SSH banner"):
                machines = list(pool.map(provider.create, requests))
                list(pool.map(wait_for_banner, machines))
            print(f"memory of the processes (PSS): {memory(Path(directory)) / number / 1024:.1f} MiB a sandbox")
        finally:
            with timed(f"{number} sandboxes until nothing is left"):
                list(pool.map(provider.terminate, machines))


@contextmanager
def timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - start:.2f} s")


def wait_for_banner(machine: Machine) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection((str(machine.address), machine.port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def memory(directory: Path) -> float:
    """KiB of all processes that are in the sandboxes' PID namespaces."""
    mine = (Path("/proc/self/ns/pid")).readlink()
    total = 0.0
    names = {
        (Path("/proc") / record.read_text().split('"pid": ')[1].split(",")[0] / "ns/pid").readlink()
        for record in directory.glob(".opsflow/sandbox/machines/*/process.json")
    } - {mine}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() in names:
                rollup = (process / "smaps_rollup").read_text()
                total += float(rollup.split("\nPss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total


if __name__ == "__main__":
    main()
