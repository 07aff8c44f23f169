"""Loopback addresses for sandboxes, given out once on the whole machine.

Every project has its own state directory, but there is only one 127.77.0.0/16: who uses which address is kept under
``/run/opsflow``, which a reboot empties together with the sandboxes.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.providers.compute.files import write_atomic
from opsflow.providers.compute.locks import locked

NETWORK = ipaddress.IPv4Network("127.77.0.0/16")
PORTS = (22, 2222, 22022)
"""In order of preference; a machine whose own sshd listens on every address leaves no port 22."""
LIMIT = 200
SETTLING = 60.0
"""Seconds in which a sandbox that was given an address begins to listen on it."""
LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a sandbox's sshd listens."""

    address: str
    port: int


class AddressBook:
    """Who has which address. Entries of owners that are gone are given out again."""

    def __init__(self, clock: Clock, directory: Path = Path("/run/opsflow/addresses")) -> None:
        self._clock = clock
        self._directory = directory

    def reserve(self, owner: Path, wanted: Endpoint | None = None) -> Endpoint:
        """An address for the sandbox whose record file is ``owner``: the one it has, else ``wanted``, else a new one.

        Raises:
            ProviderError: no address is left, or the machine has too many sandboxes.
        """
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise CapabilityError(f"cannot write {self._directory}: {error.strerror}") from error
        with locked(self._directory.with_suffix(".lock"), self._clock):
            entries = dict(self._entries())
            mine = next((address for address, who in entries.items() if who == owner), None)
            if mine is None and len(entries) >= LIMIT:
                raise ProviderError(
                    f"this machine already has {LIMIT} sandboxes, the most that are allowed",
                    hint="Destroy a stack first: opsflow destroy STACK.",
                )
            endpoint = self._choose(mine or (wanted.address if wanted else None), entries, mine)
            write_atomic(self._directory / endpoint.address, json.dumps({"owner": str(owner)}), mode=0o644)
            return endpoint

    def release(self, owner: Path) -> None:
        """Give the owner's address back."""
        if not self._directory.is_dir():
            return
        with locked(self._directory.with_suffix(".lock"), self._clock):
            for address, who in list(self._entries()):
                if who == owner:
                    (self._directory / address).unlink(missing_ok=True)

    def _entries(self) -> Iterator[tuple[str, Path]]:
        """Entries of owners that still exist; the others are removed on the way."""
        for file in self._directory.iterdir():
            try:
                owner = Path(json.loads(file.read_text())["owner"])
            except (ValueError, KeyError, TypeError):
                owner = Path("/nonexistent")
            if owner.exists() or self._young(file):
                yield file.name, owner
            else:
                file.unlink(missing_ok=True)

    def _young(self, file: Path) -> bool:
        """An owner that we cannot see may live behind another mount, and its machine may not listen yet."""
        return self._clock.now().timestamp() - file.stat().st_mtime < SETTLING

    def _choose(self, preferred: str | None, taken: Iterable[str], mine: str | None) -> Endpoint:
        listening = tuple(_listening())
        everywhere = {port for address, port in listening if address == "0.0.0.0"}  # noqa: S104 - compared, not bound
        port = next((port for port in PORTS if port not in everywhere), None)
        if port is None:
            raise ProviderError(f"something on this machine listens on every address on the ports {PORTS}")
        # An address is left alone as soon as anything listens on it: two machines must not share one.
        busy = {*taken, *(address for address, _ in listening)} - {mine}
        # From 127.77.16.1 on: test fleets that are counted by hand begin at the network's first address.
        highs = (*range(16, 256), *range(16))
        candidates = (str(NETWORK[256 * high + low]) for high in highs for low in range(1, 255))
        if preferred and preferred not in busy:
            return Endpoint(preferred, port)
        for address in candidates:
            if address not in busy:
                return Endpoint(address, port)
        raise ProviderError(f"no address of {NETWORK} is free")


def _listening() -> Iterator[tuple[str, int]]:
    """Address and port of every TCP socket that listens; IPv6's "any" counts as IPv4's, which it usually includes."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                address, port = fields[1].split(":")
                yield _plain(address), int(port, 16)


def _plain(kernel: str) -> str:
    """``0100007F`` is 127.0.0.1: the kernel prints the address as a number in the machine's byte order."""
    if not kernel.strip("0"):
        return "0.0.0.0"  # noqa: S104 - a name, nothing is bound
    last = int(kernel[-8:], 16).to_bytes(4, "little")
    return str(ipaddress.IPv4Address(last))
