"""The peers: every way of bringing the same twelve steps to the same hosts."""

from __future__ import annotations

from bench.peers.ansible import Ansible, Mitogen
from bench.peers.base import Peer
from bench.peers.openssh import OpenSsh, OpenSshWarm
from bench.peers.opsflow import Opsflow, OpsflowSibling, OpsflowWarm
from bench.peers.paramiko import Paramiko
from bench.peers.pyinfra import Pyinfra

PEERS: tuple[type[Peer], ...] = (
    Opsflow, OpsflowSibling, OpsflowWarm, Pyinfra, OpenSsh, OpenSshWarm, Paramiko, Mitogen, Ansible,
)  # fmt: skip
