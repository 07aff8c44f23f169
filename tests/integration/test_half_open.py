"""A link that goes silent in the middle of a run: namespaces with a network of their own, and packets dropped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_hosts import CLOCK, Fleet, answer, engine_process, open_fleet, until

from opsflow.model.machine import Machine, MachineState

pytestmark = pytest.mark.sandbox

HOST, CONTROLLER = "10.99.0.2", "10.99.0.1"

SSHD_CONFIG = """
ListenAddress {host}
Port 22
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/key.pub
StrictModes no
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
"""


def run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (command, result.stderr)


class Network:
    """A host and a controller, each with a network of its own and a cable between them."""

    def __init__(self, directory: Path) -> None:
        for tool in ("ip", "nft", "unshare"):
            assert shutil.which(tool), f"needs {tool}: apt-get install iproute2 nftables util-linux"
        self.directory = directory
        self.host, self.controller = (f"opsflow-{side}-{os.getpid()}" for side in "hc")
        self._sshd: subprocess.Popen[bytes] | None = None

    def open(self) -> Machine:
        cable, end = f"oc{os.getpid()}", f"oh{os.getpid()}"
        run("ip", "netns", "add", self.host)
        run("ip", "netns", "add", self.controller)
        run(
            "ip",
            "link",
            "add",
            cable,
            "netns",
            self.controller,
            "type",
            "veth",
            "peer",
            "name",
            end,
            "netns",
            self.host,
        )
        for side, link, address in ((self.controller, cable, CONTROLLER), (self.host, end, HOST)):
            run("ip", "-n", side, "address", "add", f"{address}/24", "dev", link)
            run("ip", "-n", side, "link", "set", "lo", "up")
            run("ip", "-n", side, "link", "set", link, "up")
        for name in ("host_key", "key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name))
        config = self.directory / "sshd_config"
        config.write_text(SSHD_CONFIG.format(host=HOST, directory=self.directory))
        # Its own home: what a login shell does there must not be cut off in the middle on this machine.
        mounts = "mount -t tmpfs run /run && mkdir /run/sshd && mount -t tmpfs root /root"
        start = f"{mounts} && exec /usr/sbin/sshd -D -e -f {config}"
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", start]
        with (self.directory / "sshd.log").open("wb") as log:
            self._sshd = subprocess.Popen(["ip", "netns", "exec", self.host, *unshare], stderr=log)
        until(lambda: "Server listening" in (self.directory / "sshd.log").read_text())
        key = (self.directory / "host_key.pub").read_text().strip()
        return Machine(
            id="half-open", token="half-open", state=MachineState.RUNNING, address=HOST,
            key_file=str(self.directory / "key"), host_keys=(key,),
        )  # fmt: skip

    def drop(self) -> None:
        """From now on the host hears nothing and says nothing, as if its power were cut."""
        rules = "".join(
            f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy drop; }}\n"
            for hook in ("input", "output")
        )
        text = f"add table inet cut\n{rules}"
        subprocess.run(["ip", "netns", "exec", self.host, "nft", "-f", "-"], input=text.encode(), check=True)

    def close(self) -> None:
        if self._sshd is not None:
            self._sshd.kill()  # everything in its namespace ends with it
            self._sshd.wait()
        for name in (self.host, self.controller):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    network = Network(tmp_path)
    try:
        yield network
    finally:
        network.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "fleet").mkdir()
    with open_fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_a_host_that_goes_silent_is_noticed(network: Network, fleet: Fleet, tmp_path: Path) -> None:
    machine = network.open()
    text = f"""
        def setup(node):
            server.shell(name="Before", commands="echo before")
            server.shell(name="Silent", commands="touch {tmp_path}/begun; sleep 100")
    """
    process = engine_process(fleet, machine, text, ("ip", "netns", "exec", network.controller))
    until((tmp_path / "begun").exists)
    network.drop()
    started = CLOCK.monotonic()
    result = answer(process)
    assert CLOCK.monotonic() - started <= 40  # noticed within 20 s, then looked for as long as connecting may take
    assert result["status"] == "unreachable"
    assert [operation["status"] for operation in result["operations"]] == ["changed", "failed"]  # type: ignore[attr-defined]
