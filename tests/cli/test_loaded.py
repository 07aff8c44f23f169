"""What a command loads. Most of what a short one takes is importing libraries, so each is loaded where it is used."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import PROXY

STACK = "stack: shop\ncompute: {provider: static}\nlayers: {lb: {recipes: [proxy], instances: {lb1: {}, lb2: {}}}}\n"
HOSTS = "hosts: {lb1: {address: 192.0.2.1}, lb2: {address: 192.0.2.2}}\n"
PROGRAM = """
import sys
from opsflow.cli.main import run
from opsflow.clock import SystemClock
from opsflow.engine.fake import FakeEngine
from opsflow.wiring import Adapters
import opsflow.engine.agent.client, opsflow.engine.agent.start

adapters = Adapters(engine=lambda paths, clock, state: FakeEngine(SystemClock()))
code = run(sys.argv[1:], adapters)
print("loaded", *sorted(sys.modules))
sys.exit(code)
"""
"""The command with everything that is real but the engine: that one is an agent's, with --warm."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two machines of an inventory, whose keys are in its known_hosts file."""
    for name, text in {"stacks/shop.yml": STACK, "inventory/hosts.yml": HOSTS, "recipes/proxy.py": PROXY}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32
    keys = "".join(f"192.0.2.{n} ssh-ed25519 {base64.b64encode(wire).decode()}\n" for n in (1, 2))
    (tmp_path / "inventory/known_hosts").write_text(keys)
    return tmp_path


def loaded(project: Path, *command: str) -> set[str]:
    """The modules that are there when the command has ended."""
    argv = [sys.executable, "-c", PROGRAM, "-C", str(project), "--cold", *command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_a_command_whose_connections_are_an_agents_makes_no_handshake_and_plans_nothing(project: Path) -> None:
    heavy = {"paramiko", "cryptography", "nacl", "pyinfra", "gevent", "jinja2", "opsflow.engine.engine"}
    rare = {"alembic", "rich", "tarfile", "http.client"}
    loaded(project, "start", "shop", "-y")  # makes the store, for which alembic is needed
    for command in (("run", "shop", "proxy.setup", "-y"), ("status", "shop"), ("plan", "shop")):
        assert loaded(project, *command) & (heavy | rare) == set(), command
