"""A real sshd on a loopback address, with processes and a /run of its own; it can be ended and started again."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine_hosts import until

from opsflow.model.machine import Machine, MachineState

CONFIG = """
ListenAddress {address}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/key.pub
StrictModes no
UsePAM no
UseDNS no
PidFile none
LogLevel VERBOSE
{more}
"""


class Sshd:
    """Runs until it is stopped. What it runs sees the files of this machine."""

    def __init__(self, directory: Path, address: str, more: str = "") -> None:
        directory.mkdir()
        self.directory = directory
        self.address = address
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = free.getsockname()[1]
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        (directory / "config").write_text(
            CONFIG.format(address=address, port=self.port, directory=directory, more=more), encoding="utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def machine(self) -> Machine:
        host_key = (self.directory / "host_key.pub").read_text(encoding="utf-8").strip()
        return Machine(
            id="here",
            token="sshd-here",
            state=MachineState.RUNNING,
            address=self.address,
            port=self.port,
            key_file=str(self.directory / "key"),
            host_keys=(host_key,),
        )

    def start(self) -> None:
        config = self.directory / "config"
        begin = f"mount -t tmpfs run /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {config}"
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([*own, "sh", "-c", begin], stderr=log, start_new_session=True)
        until(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex((self.address, self.port)) == 0

    def stop(self) -> None:
        """End it and everything that was started through it, as a reboot does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            until(lambda: not self._answers())
            self._process = None


@contextmanager
def sshd(directory: Path, address: str, more: str = "") -> Iterator[Sshd]:
    server = Sshd(directory, address, more)
    server.start()
    try:
        yield server
    finally:
        server.stop()
