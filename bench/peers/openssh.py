"""OpenSSH's client and a hand-written script: what a shell loop could do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import ClassVar

from bench import testbed
from bench.masters import held
from bench.meter import Command
from bench.peers.base import Peer


class OpenSsh(Peer):
    """``ssh HOST sh -s <script`` for all hosts at once, each over a connection of its own, with curve25519."""

    key: ClassVar[str] = "openssh"
    title: ClassVar[str] = "OpenSSH, script"

    def prepare(self) -> None:
        (self.place / "script").write_text(testbed.hand_written_script())
        (self.place / "hosts").write_text("".join(f"{host.name}\n" for host in self.testbed.hosts))
        ssh = f"exec ssh -F {shlex.quote(str(self.config()))} \"$0\" 'sh -s' <script"
        parallel = len(self.testbed.hosts)
        (self.place / "everywhere").write_text(f"exec xargs -a hosts -P {parallel} -n 1 sh -c {shlex.quote(ssh)}\n")

    def config(self) -> Path:
        return self.testbed.ssh_config(self.key, ControlPath="none")

    def command(self) -> Command:
        return self.call("sh", "everywhere")


class OpenSshWarm(OpenSsh):
    """The same over connections that a ControlMaster for each host holds open."""

    key: ClassVar[str] = "openssh-warm"
    title: ClassVar[str] = "OpenSSH ControlMaster, script"
    stays: ClassVar[bool] = True

    def config(self) -> Path:
        return self.resources.enter_context(held(self.testbed, "warm")).config
