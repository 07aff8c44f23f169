"""The pyinfra CLI, all hosts in parallel."""

from __future__ import annotations

from typing import ClassVar

from bench.meter import Command
from bench.peers.base import Peer

DEPLOY = """\
from twelve import setup
setup()
"""


class Pyinfra(Peer):
    key: ClassVar[str] = "pyinfra"
    title: ClassVar[str] = "pyinfra"
    needs: ClassVar[tuple[str, ...]] = ("pyinfra",)

    def prepare(self) -> None:
        """Inventory and deploy file beside the recipe, which looks for its templates where pyinfra runs."""
        shared = {
            "ssh_user": "root",
            "ssh_strict_host_key_checking": "yes",
            "ssh_known_hosts_file": str(self.testbed.known_hosts),
        }
        hosts = [
            (host.name, {"ssh_hostname": host.address, "ssh_port": host.port, "ssh_key": host.key, **shared})
            for host in self.testbed.hosts
        ]
        (self.place / "recipes/inventory.py").write_text(f"hosts = {hosts!r}\n")
        (self.place / "recipes/deploy.py").write_text(DEPLOY)

    def command(self) -> Command:
        parallel = str(len(self.testbed.hosts))
        return self.call(
            self.environment.program("pyinfra"), "--parallel", parallel, "-y", "inventory.py", "deploy.py",
            directory=self.place / "recipes",
        )  # fmt: skip
