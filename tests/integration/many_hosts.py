"""Many hosts for one run: loopback addresses of a few real SSH servers, some of which fall silent."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from sshd_here import Sshd, sshd

ADDRESSES = 15
"""Addresses of one server; sshd listens on at most 16."""

RECIPE = '''\
"""Leave a trace."""

from pyinfra.operations import server

from opsflow import Node


def touch(node: Node) -> None:
    server.shell(name="Leave a trace", commands=[f"echo {{node.name}} >>{traces}/{{node.name}}"])
'''


@dataclass
class Silent:
    """Sockets where hosts were: nothing that connects to them is ever answered."""

    sockets: list[socket.socket] = field(default_factory=list)

    def dead(self, address: str, port: int) -> None:
        """Packets to it are dropped, because nobody takes the connections that wait."""
        listener = self._listener(address, port, backlog=0)
        for _ in range(3):
            waits = socket.socket()
            waits.setblocking(False)
            waits.connect_ex(listener.getsockname())
            self.sockets.append(waits)

    def frozen(self, address: str, port: int) -> None:
        """It takes the connection and says nothing."""
        self._listener(address, port, backlog=16)

    def _listener(self, address: str, port: int, *, backlog: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(backlog)
        self.sockets.append(listener)
        return listener

    def end(self) -> None:
        """From now on connections are refused."""
        for each in self.sockets:
            each.close()
        self.sockets.clear()


@dataclass(frozen=True)
class Group:
    """The hosts of one SSH server."""

    server: Sshd
    names: Sequence[str]

    def addresses(self) -> dict[str, str]:
        """Host -> address."""
        first = self.server.address.rpartition(".")
        return {name: f"{first[0]}.{int(first[2]) + offset}" for offset, name in enumerate(self.names)}

    def inventory(self) -> dict[str, dict[str, object]]:
        machine = self.server.machine
        return {
            name: {"address": address, "port": machine.port, "user": "root", "key": machine.key_file,
                   "host_key": machine.host_keys[0]}
            for name, address in self.addresses().items()
        }  # fmt: skip


@contextmanager
def servers(directory: Path, names: Sequence[str], net: int) -> Iterator[list[Group]]:
    """As many servers as these hosts need, at addresses 127.``net``.0.1 and so on."""
    with ExitStack() as stack:
        groups = []
        for number in range(0, len(names), ADDRESSES):
            own = names[number : number + ADDRESSES]
            base = f"127.{net}.{number // ADDRESSES}"
            more = "".join(f"ListenAddress {base}.{2 + offset}\n" for offset in range(len(own) - 1))
            server = sshd(directory / f"{net}-{number}", f"{base}.1", f"{more}MaxStartups 500\nMaxSessions 100")
            groups.append(Group(stack.enter_context(server), own))
        yield groups


def write_project(root: Path, groups: Sequence[Group]) -> Path:
    """A stack of all hosts in the order of the groups; gives the directory where each leaves its trace."""
    traces = root / "traces"
    for path in (root / "stacks", root / "inventory", root / "recipes", traces):
        path.mkdir(parents=True)
    hosts = {name: host for group in groups for name, host in group.inventory().items()}
    stack = {
        "stack": "many",
        "compute": {"provider": "static"},
        # A silent host stays silent for as long as the test wants.
        "timeouts": {"connect": 600, "authentication": 600},
        "layers": {"app": {"recipes": {"configure": []}, "instances": {name: {} for name in hosts}}},
    }
    (root / "stacks/many.yml").write_text(yaml.safe_dump(stack, sort_keys=False))
    (root / "inventory/hosts.yml").write_text(yaml.safe_dump({"hosts": hosts}, sort_keys=False))
    (root / "recipes/trace.py").write_text(RECIPE.format(traces=traces))
    return traces
