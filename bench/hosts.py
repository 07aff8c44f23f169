"""The hosts: sandboxes, each a real OpenSSH server with users, processes and files of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from opsflow.clock import SystemClock
from opsflow.model.machine import Machine, MachineRequest
from opsflow.providers.compute.sandbox import SandboxProvider


@dataclass(frozen=True)
class Host:
    """Where a host answers, directly or through the delay proxy, and the keys of both sides."""

    name: str
    address: str
    port: int
    key: str
    host_key: str

    def behind(self, address: str, port: int) -> Host:
        return replace(self, address=address, port=port)


class Fleet:
    """Sandboxes that are made when they are first asked for and end with the benchmark."""

    def __init__(self, directory: Path) -> None:
        self._provider = SandboxProvider(directory / ".opsflow/sandbox", SystemClock())
        self._provider.check()
        self._machines: list[Machine] = []

    def hosts(self, number: int) -> list[Host]:
        """The first ``number`` hosts."""
        requests = [
            MachineRequest(token=f"bench-{index:04d}", stack="bench", instance=f"h{index:04d}")
            for index in range(len(self._machines) + 1, number + 1)
        ]
        with ThreadPoolExecutor(8) as pool:
            self._machines += pool.map(self._provider.create, requests)
        return [host_of(machine) for machine in self._machines[:number]]

    def end(self) -> None:
        """Leave nothing behind, also of sandboxes that were only half made."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._provider.terminate, self._provider.list("bench")))


def host_of(machine: Machine) -> Host:
    return Host(
        name=machine.instance or machine.id,
        address=str(machine.address),
        port=machine.port,
        key=str(machine.key_file),
        host_key=machine.host_keys[0],
    )
