"""A program as somebody writes it who wants to run a script on many hosts with paramiko: a thread for each.

Usage: python threads.py HOSTS_JSON KNOWN_HOSTS SCRIPT
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import paramiko


def run(host: dict[str, Any], keys: dict[str, paramiko.PKey], known_hosts: str, script: bytes) -> int:
    """The script's exit code on one host."""
    client = paramiko.SSHClient()
    client.load_host_keys(known_hosts)
    client.connect(
        host["address"],
        host["port"],
        "root",
        pkey=keys[host["key"]],
        allow_agent=False,
        look_for_keys=False,
        timeout=60,
    )
    with client:
        stdin, stdout, stderr = client.exec_command("sh -s")
        stdin.write(script)
        stdin.channel.shutdown_write()
        stdout.read()
        sys.stderr.write(stderr.read().decode(errors="backslashreplace"))
        return stdout.channel.recv_exit_status()


def main(hosts_file: str, known_hosts: str, script_file: str) -> int:
    hosts = json.loads(Path(hosts_file).read_text())
    keys: dict[str, paramiko.PKey] = {
        file: paramiko.Ed25519Key.from_private_key_file(file) for file in {host["key"] for host in hosts}
    }
    one = partial(run, keys=keys, known_hosts=known_hosts, script=Path(script_file).read_bytes())
    with ThreadPoolExecutor(len(hosts)) as pool:
        return max(pool.map(one, hosts))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
