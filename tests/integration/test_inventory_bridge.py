"""The plain pyinfra CLI runs against a stack's machines, and a static stack against machines of somebody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.model.compute import Ssh
from opsflow.model.journal import JournalEntry
from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Changes
from opsflow.providers.compute.sandbox import SandboxProvider
from opsflow.providers.compute.static import StaticProvider
from opsflow.store.sql import SqlStore

pytestmark = pytest.mark.sandbox
CLOCK = SystemClock()
BRIDGE = Path(__file__).parents[2] / "inventory/opsflow.py"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    provider = SandboxProvider(tmp_path / ".opsflow/sandbox", CLOCK)
    names = ("app1", "db1")
    yield {name: provider.create(MachineRequest(token=f"bridge-{name}", stack="shop", instance=name)) for name in names}
    for machine in provider.list("shop"):
        provider.terminate(machine)


def remember(root: Path, machines: dict[str, Machine]) -> None:
    """Put the machines into the project's store, as `up` does."""
    store = SqlStore(root / ".opsflow/state.db", CLOCK)
    now = CLOCK.now()
    states = [
        InstanceState(
            stack="shop",
            name=name,
            layers=("app", "all-of-it") if name == "app1" else ("db",),
            status=InstanceStatus.ONLINE,
            machine=machine,
            created_at=now,
            changed_at=now,
        )
        for name, machine in machines.items()
    ]
    with store.lease("test") as lease:
        entry = JournalEntry(at=now, kind="instance.created", stack="shop", message="machines")
        store.commit(lease, Changes(entries=[entry], instances=states))
    store.close()


def pyinfra(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", "inventory/opsflow.py", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, env=env)


def test_pyinfra_runs_on_a_stack(tmp_path: Path, machines: dict[str, Machine]) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "inventory").mkdir()
    shutil.copy(BRIDGE, tmp_path / "inventory")
    nothing = pyinfra(tmp_path, "debug-inventory")
    assert "no stack is up" in nothing.stdout + nothing.stderr
    engine = PyinfraEngine([], CLOCK)
    remember(tmp_path, machines)
    try:
        for machine in machines.values():
            assert engine.wait_ready(machine, Ssh(), 20, threading.Event()) is None
    finally:
        engine.close()
    done = pyinfra(tmp_path, "exec", "--", "echo I am $(hostname)")
    assert done.returncode == 0, done.stderr
    assert all(f"I am {name}" in done.stderr for name in machines), done.stderr
    only = pyinfra(tmp_path, "--limit", "db", "exec", "--", "hostname", OPSFLOW_STACK="shop")
    assert "db1" in only.stderr
    assert "app1" not in only.stderr
    wrong = pyinfra(tmp_path, "debug-inventory", OPSFLOW_STACK="shops")
    assert "OPSFLOW_STACK to one of: shop" in wrong.stdout + wrong.stderr


def test_a_fleet_of_somebody_else_is_registered_by_its_json(tmp_path: Path, machines: dict[str, Machine]) -> None:
    known_hosts = tmp_path / "fleet_known_hosts"
    known_hosts.write_text("".join(f"{m.address} {m.host_keys[0]}\n" for m in machines.values()))
    fleet = {
        "known_hosts": str(known_hosts),
        "key": machines["app1"].key_file,
        "hosts": [
            {"name": f"h{number:04d}", "address": machine.address, "port": machine.port, "user": "root"}
            for number, machine in enumerate(machines.values(), 1)
        ],
    }
    inventory = tmp_path / "fleet.json"
    inventory.write_text(json.dumps(fleet))
    provider = StaticProvider(inventory, Ssh(), CLOCK, tmp_path / ".opsflow")
    request = MachineRequest(token="fleet-0001", stack="shop", instance="web", host="h0002")
    taken = provider.create(request)
    original = machines["db1"]
    assert (taken.address, taken.host_keys, taken.key_file) == (
        original.address,
        original.host_keys,
        original.key_file,
    )
