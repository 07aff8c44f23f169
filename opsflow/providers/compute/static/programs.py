"""Inventories that are programs: an executable, or pyinfra's inventory.py. They are user code and run apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opsflow.clock import SystemClock
from opsflow.providers.compute.static import evaluate
from opsflow.providers.compute.static.ansible import add_variable_files, read_listing
from opsflow.providers.compute.static.groups import Groups
from opsflow.providers.compute.static.inventory import Inventory, wrong

SECONDS = 30.0
POLL = 0.02
LARGEST = 10_000_000
"""Bytes that it may print."""
CLOCK = SystemClock()
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
"""What a program sees of our environment: enough to run, no secrets."""


def read_executable(file: Path) -> Inventory:
    """Run ``FILE --list`` and, where it does not print ``_meta``, ``FILE --host NAME`` for each host.

    Raises:
        InventoryError: it fails, takes too long, or prints something else.
    """
    document = _json(file, [str(file), "--list"])
    inventory = read_listing(file, document)
    if isinstance(document, dict) and "_meta" not in document:
        variables = {name: _json(file, [str(file), "--host", name]) for name in inventory.hosts}
        inventory = read_listing(file, {**document, "_meta": {"hostvars": variables}})
    return inventory


def read_pyinfra(file: Path) -> Inventory:
    """Evaluate an ``inventory.py``: its lists are groups, ``group_data/`` beside it their data.

    Raises:
        InventoryError: it fails, takes too long, or holds something that is not data.
    """
    groups = Groups(file)
    evaluated = _json(file, [sys.executable, "-P", evaluate.__file__, str(file)])
    for name, (hosts, data) in evaluated["groups"].items():
        group = groups.group(name)
        group.variables |= data
        for host, variables in hosts:
            group.hosts.setdefault(host, {}).update(variables)
    for name, data in evaluated["group_data"].items():
        groups.group_vars[name] = data
    add_variable_files(groups)
    return groups.inventory()


def _json(file: Path, command: Sequence[str]) -> Any:
    output = _run(file, command)
    try:
        return json.loads(output or "{}")
    except ValueError as error:
        shown = output[:200].decode(errors="replace")
        raise wrong(file, f"'{' '.join(command)}' did not print JSON but: {shown}") from error


def _run(file: Path, command: Sequence[str]) -> bytes:
    environment = {key: os.environ[key] for key in KEPT if key in os.environ}
    # Into files: a program that prints without end fills no memory, and one that leaves children behind blocks nothing.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=file.parent,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise wrong(file, f"cannot be run: {error.strerror}") from error
        try:
            why = _watched(process, (output.fileno(), errors.fileno()))
        finally:
            code = _end(process)
        if why:
            raise wrong(file, f"'{' '.join(command)}' {why} and was ended")
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 2000))
        if code != 0:
            raise wrong(
                file,
                f"'{' '.join(command)}' failed with exit code {code}",
                hint=errors.read().decode(errors="replace").strip() or None,
            )
        output.seek(0)
        return output.read()


def _watched(process: subprocess.Popen[bytes], files: Sequence[int]) -> str:
    """Wait until the program is over; why it has to be ended, or nothing when it ended by itself."""
    deadline = CLOCK.monotonic() + SECONDS
    while True:
        # Not waited for yet: until _end() does that, its number cannot become another process group's.
        over = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if any(os.fstat(file).st_size > LARGEST for file in files):
            return f"printed more than {LARGEST} bytes"
        if over:
            return ""
        if CLOCK.monotonic() > deadline:
            return f"did not end within {SECONDS:.0f} s"
        CLOCK.sleep(POLL)


def _end(process: subprocess.Popen[bytes]) -> int:
    """End whatever is left of its process group, which is its own; its exit code."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
