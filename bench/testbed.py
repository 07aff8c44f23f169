"""What every peer is given: hosts, their keys, a directory of its own, and the recipe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.hosts import Host

RECIPES = Path(__file__).resolve().parent / "recipes"

SSH_OPTIONS = {
    "User": "root",
    "IdentitiesOnly": "yes",
    "GlobalKnownHostsFile": "none",
    "StrictHostKeyChecking": "yes",
    "KexAlgorithms": "curve25519-sha256",
    "HostKeyAlgorithms": "ssh-ed25519",
    "BatchMode": "yes",
    "LogLevel": "ERROR",
}


@dataclass(frozen=True)
class Testbed:
    """Some hosts and a directory for what concerns them."""

    directory: Path
    hosts: tuple[Host, ...]
    spare: Host
    """A host of the same kind that is not measured: the sibling of those that are."""

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def everyone(self) -> tuple[Host, ...]:
        return (*self.hosts, self.spare)

    def place(self, name: str) -> Path:
        """An empty directory with that name and the recipes in it."""
        place = self.directory / name
        shutil.copytree(RECIPES, place / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
        return place

    def ssh_config(self, name: str, **options: str) -> Path:
        """A configuration file for OpenSSH's client that knows the hosts by name."""
        file = self.directory / f"{name}.ssh_config"
        file.write_text(ssh_config(self.everyone, self.known_hosts, options))
        return file


def make(directory: Path, hosts: list[Host]) -> Testbed:
    """The testbed whose last host is the spare one."""
    directory.mkdir()
    testbed = Testbed(directory, tuple(hosts[:-1]), hosts[-1])
    testbed.known_hosts.write_text("".join(f"{known_as(h)} {h.host_key}\n" for h in hosts))
    return testbed


def ssh_config(hosts: tuple[Host, ...], known_hosts: Path, options: dict[str, str]) -> str:
    """The text of an OpenSSH client configuration."""
    lines = ["Host *"]
    for key, value in {**SSH_OPTIONS, "UserKnownHostsFile": str(known_hosts), **options}.items():
        lines.append(f"  {key} {value}")
    for host in hosts:
        lines += [
            f"Host {host.name}",
            f"  HostName {host.address}",
            f"  Port {host.port}",
            f"  IdentityFile {host.key}",
        ]
    return "\n".join(lines) + "\n"


def known_as(host: Host) -> str:
    """What a host is called in a known_hosts file."""
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"


def hand_written_script() -> str:
    """The twelve steps as an administrator would write them down for ``sh -s``."""
    jinja = Environment(loader=FileSystemLoader(RECIPES), keep_trailing_newline=True, undefined=StrictUndefined)  # noqa: S701
    template = jinja.get_template("templates/service.conf.j2")
    files = {name: template.render(service=name) for name in ("web", "worker", "cron")}
    return jinja.get_template("twelve.sh.j2").render(files=files, static="static content\n" * 200)
