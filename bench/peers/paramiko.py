"""paramiko, a thread and a hand-written script for each host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from bench import testbed
from bench.meter import Command
from bench.peers.base import Peer

PROGRAM = Path(__file__).resolve().parents[1] / "programs/threads.py"


class Paramiko(Peer):
    key: ClassVar[str] = "paramiko"
    title: ClassVar[str] = "paramiko threads, script"
    needs: ClassVar[tuple[str, ...]] = ("paramiko",)

    def prepare(self) -> None:
        (self.place / "script").write_text(testbed.hand_written_script())
        hosts = [{"address": host.address, "port": host.port, "key": host.key} for host in self.testbed.hosts]
        (self.place / "hosts.json").write_text(json.dumps(hosts))

    def command(self) -> Command:
        return self.call(self.environment.python, str(PROGRAM), "hosts.json", str(self.testbed.known_hosts), "script")
