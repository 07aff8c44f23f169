"""ansible-core with pipelining and 50 forks, by itself and with mitogen."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import ClassVar

from bench.meter import Command
from bench.peers.base import Peer
from bench.testbed import SSH_OPTIONS

CONFIG = """\
[defaults]
forks = 50
host_key_checking = True
interpreter_python = /usr/bin/python3
retry_files_enabled = False
home = {place}/ansible
local_tmp = {place}/ansible/tmp
{defaults}
[connection]
pipelining = True
[ssh_connection]
pipelining = True
ssh_args = {ssh_args}
control_path_dir = {place}/cp
"""


class Ansible(Peer):
    key: ClassVar[str] = "ansible"
    title: ClassVar[str] = "ansible-core, pipelining"
    slow: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("ansible-core",)

    def prepare(self) -> None:
        (self.place / "hosts.ini").write_text("".join(
            f"{host.name} ansible_host={host.address} ansible_port={host.port} ansible_user=root "
            f"ansible_ssh_private_key_file={shlex.quote(host.key)}\n"
            for host in self.testbed.hosts
        ))  # fmt: skip
        known = {**SSH_OPTIONS, "UserKnownHostsFile": str(self.testbed.known_hosts)}
        ours = " ".join(f"-o {key}={value}" for key, value in known.items() if key != "User")
        (self.place / "ansible.cfg").write_text(
            CONFIG.format(
                place=self.place,
                ssh_args=f"-o ControlMaster=auto -o ControlPersist=60s {ours}",
                defaults=self.defaults(),
            )
        )

    def defaults(self) -> str:
        """More lines of the section ``defaults``."""
        return ""

    def variables(self) -> Mapping[str, str]:
        return {**super().variables(), "ANSIBLE_CONFIG": str(self.place / "ansible.cfg")}

    def command(self) -> Command:
        return self.call(self.environment.program("ansible-playbook"), "-i", "hosts.ini", "recipes/twelve.yml")


class Mitogen(Ansible):
    key: ClassVar[str] = "mitogen"
    title: ClassVar[str] = "ansible-core, mitogen"
    needs: ClassVar[tuple[str, ...]] = ("ansible-core", "mitogen")

    def defaults(self) -> str:
        plugins = self.environment.site_packages / "ansible_mitogen/plugins/strategy"
        return f"strategy_plugins = {plugins}\nstrategy = mitogen_linear\n"
