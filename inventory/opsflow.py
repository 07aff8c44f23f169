"""A stack's machines as an inventory for the plain pyinfra CLI.

    pyinfra inventory/opsflow.py exec -- uptime
    OPSFLOW_STACK=shop pyinfra inventory/opsflow.py --limit app deploy.py

Groups are the layers; each host has its address, user, key and the host key that opsflow knows. ``OPSFLOW_STACK`` says
which stack, where there is more than one. Only running machines are listed.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from opsflow.model.machine import Machine, MachineState
from opsflow.model.state import StackState
from opsflow.wiring import open_project, require_root

_Host = tuple[str, dict[str, object]]


def _groups() -> dict[str, list[_Host]]:
    project = open_project(require_root(Path(__file__).parent))
    with project.reader() as store:
        state = store.state(_stack(store.stacks()))
    known_hosts = _write_known_hosts(project.private() / "pyinfra_known_hosts", state)
    groups: dict[str, list[_Host]] = defaultdict(list)
    for name, instance in state.instances.items():
        if instance.machine and instance.machine.state is MachineState.RUNNING:
            for layer in instance.layers:
                groups[layer].append((name, _data(instance.machine, known_hosts)))
    return groups


def _stack(names: Sequence[str]) -> str:
    wanted = os.environ.get("OPSFLOW_STACK")
    if wanted and wanted in names:
        return wanted
    if wanted or len(names) != 1:
        raise SystemExit(f"set OPSFLOW_STACK to one of: {', '.join(names) or '(no stack is up)'}")
    return names[0]


def _data(machine: Machine, known_hosts: Path) -> dict[str, object]:
    data = {
        "ssh_hostname": machine.address,
        "ssh_port": machine.port,
        "ssh_user": machine.user,
        "ssh_key": machine.key_file,
        "ssh_known_hosts_file": str(known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    return {key: value for key, value in data.items() if value is not None}


def _write_known_hosts(file: Path, state: StackState) -> Path:
    machines = [instance.machine for instance in state.instances.values() if instance.machine]
    lines = []
    for machine in machines:
        name = machine.address if machine.port == 22 else f"[{machine.address}]:{machine.port}"
        lines += [f"{name} {key}\n" for key in machine.host_keys]
    file.write_text("".join(lines))
    return file


globals().update(_groups())
