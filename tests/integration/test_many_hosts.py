"""Many hosts in one run of the real program: those that are dead or frozen delay nobody.

60 hosts here; ``make many`` runs it with 500, or with N.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from many_hosts import Group, Silent, servers, write_project

from opsflow.errors import ExitCode

pytestmark = pytest.mark.sandbox

COUNT = int(os.environ.get("MANY_HOSTS", "60"))
DEAD, FROZEN = COUNT // 20, COUNT // 30


@contextmanager
def opsflow(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "opsflow", "-C", str(root), *arguments]
    with (root / "err").open("w") as err, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def ended(run: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The journal's entries about commands that are over, as they come."""
    assert run.stdout is not None
    for line in run.stdout:
        event = json.loads(line)
        if event["type"] == "journal" and event["kind"] in ("command.successful", "command.failed"):
            yield event


def silence(groups: list[Group]) -> Silent:
    """End these servers; nobody is at their addresses any more, or somebody who says nothing."""
    silent = Silent()
    for group in groups:
        group.server.stop()
        for name, address in group.addresses().items():
            fall = silent.dead if name.startswith("dead") else silent.frozen
            fall(address, group.server.port)
    return silent


def test_dead_and_frozen_hosts_delay_nobody(tmp_path: Path) -> None:
    doomed = [f"dead{number}" for number in range(DEAD)] + [f"frozen{number}" for number in range(FROZEN)]
    healthy = [f"h{number:03}" for number in range(COUNT - len(doomed))]
    with servers(tmp_path, doomed, 91) as falling, servers(tmp_path, healthy, 92) as standing:
        # The doomed ones are first in the stack, so they are the first to be worked on.
        root = tmp_path / "project"
        traces = write_project(root, [*falling, *standing])
        with opsflow(root, "up", "many", "-y") as up:
            up.communicate()
        assert up.returncode == ExitCode.OK, (root / "err").read_text()[-2000:]
        silent = silence(falling)
        try:
            with opsflow(root, "run", "many", "trace.touch", "--jsonl") as run:
                over = ended(run)
                first = [next(over) for _ in healthy]
        finally:
            silent.end()
    # The first to be through were all the others; the silent ones still were what they are.
    assert [event["message"] for event in first if event["kind"] != "command.successful"] == []
    assert {event["instance"] for event in first} == set(healthy)
    assert {path.name: path.read_text() for path in traces.iterdir()} == {name: f"{name}\n" for name in healthy}
