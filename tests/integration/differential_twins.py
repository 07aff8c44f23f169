"""Twin hosts: pyinfra works on the left one, opsflow on the right one, and both must come out the same."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from differential_sources import WebServer
from differential_trees import EVERYWHERE, WATCHED, Root, differences
from engine_hosts import CLOCK, Fleet, add_user

from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.result import OperationStatus

RECORD = os.environ.get("OPSFLOW_DIFFERENTIAL_RECORD", "")
"""A file to which each comparison adds a line of JSON, for the report."""

SIDES = ("left", "right")
OUTCOMES = {"Success": "changed", "No changes": "unchanged", "Error (ignored": "ignored", "Error": "failed"}
OUTCOME = re.compile(
    # A fact that fails is said apart from what the operation then does.
    r"^    \[twin\] (?!Error.*: could not load fact)(Success|No changes|Error \(ignored|Error)",
    re.MULTILINE,
)
STARTED = "--> Starting operation"

RESET = """
umask 022; umount -l /srv/diff/mnt; chattr -R -i /srv/diff
find /srv -mindepth 1 -maxdepth 1 ! -name repo -exec rm -rf {} +
rm -rf /tmp/pyinfra.* /etc/cron.d/diff /var/spool/cron/crontabs/app /home/app/* /home/dev/*; mkdir -p /srv/diff
for u in web web2; do userdel -rf $u; groupdel $u; done
for g in diffgroup; do groupdel $g; done
true
"""


@dataclass(frozen=True)
class Case:
    """A recipe, and the states that it starts from: pristine, converged, each drift, and after an interruption."""

    name: str
    body: str
    drifts: tuple[str, ...] = ()
    """Shell commands run on both hosts behind the back of both tools."""
    before: str = ""
    """Shell commands that make the pristine state."""
    after: str = ""
    """Shell commands that take away what the reset does not know."""
    user: str = "root"
    hostile: bool = False
    """Its pristine state is made to hurt."""
    real: bool = True
    """Its programs are the real ones, not stand-ins."""


class Twins:
    """Two hosts alike, and the same recipes on both."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.directory = directory
        self.user = "root"
        with ThreadPoolExecutor(2) as pool:
            self.left, self.right = pool.map(self._create, SIDES)
        fleet._machines += [self.left, self.right]
        sandboxes = directory / "sandbox"
        self._roots = (Root(sandboxes, self.left), Root(sandboxes, self.right))
        self._count, self._real = 0, True
        self._web = WebServer(fleet.recipes)

    def close(self) -> None:
        """End what is not the fleet's."""
        self._web.close()

    def _create(self, side: str) -> Machine:
        request = MachineRequest(token=f"differential-{side}", stack=side, instance="twin")
        machine = self.fleet.provider.create(request)
        assert self.fleet.engine.wait_ready(machine, Ssh(), 60, threading.Event()) is None
        self.fleet.shell(machine, "useradd -m app")
        add_user(self.fleet, machine, "dev")
        return machine

    def both(self, command: str) -> tuple[str, str]:
        """The same command as root on both; its failure does not matter, as it has to fail on both."""
        with ThreadPoolExecutor(2) as pool:
            machines = (self.left, self.right)
            left, right = pool.map(lambda machine: self.fleet.shell(machine, f"({command}\n) 2>&1 || true"), machines)
        return left, right

    def case(self, case: Case, interruptions: int = 1) -> None:
        """Run a case from all of its states."""
        self.user = case.user
        try:
            self._real = case.real
            self._reset(case)
            self.run(case.body, case.name, "hostile" if case.hostile else "pristine")
            self.run(case.body, case.name, "converged")
            for drift in case.drifts:
                self.both(drift)
                self.run(case.body, case.name, "drifted")
            for interrupted in interruptions_of(case.body, interruptions):
                self._reset(case)
                self.run(interrupted, case.name, "interrupted")
                self.run(case.body, case.name, "half-way")
        finally:
            self._real = True
            self.both(f"{case.after}\n{RESET}")

    def again(self, case: Case) -> None:
        """Run a case from its first state, and from there once more."""
        self.user = case.user
        for _ in range(2):
            self._reset(case)
            self.run(case.body, case.name, "pristine")
        self.both(f"{case.after}\n{RESET}")

    def _reset(self, case: Case) -> None:
        self.both(f"{case.after}\n{RESET}\n{case.before}")
        for side in SIDES:
            shutil.rmtree(self._local(side))

    def run(self, body: str, case: str = "", state: str = "") -> list[str]:
        """Run the operations on both and compare; the outcomes."""
        self._count += 1
        body = self._filled_in(textwrap.dedent(body).strip("\n"))
        with ThreadPoolExecutor(2) as pool:
            left, right = pool.submit(self._pyinfra, body), pool.submit(self._opsflow, body)
            (left_outcomes, left_text), (right_outcomes, right_text) = left.result(), right.result()
        said = f"{body}\n--- pyinfra\n{left_text}\n--- opsflow\n{right_text}"
        ran = [outcome for _, outcome in right_outcomes]
        assert ran == left_outcomes, f"{state}: {left_outcomes} with pyinfra, {ran} with opsflow\n{said}"
        self.compare(f"{state}\n{said}")
        mine, theirs = (self._downloaded(side) for side in SIDES)
        assert mine == theirs, said
        if RECORD:
            _record({"case": case, "state": state, "real": self._real, "operations": right_outcomes})
        return left_outcomes

    def compare(self, said: str, below: Sequence[str] = WATCHED) -> None:
        """Compare both file systems as they are now."""
        different = differences(*self._roots, below)
        assert different == [], "\n".join([*different, said])

    def compare_everything(self) -> None:
        """Compare also where recipes do not usually write, and what opsflow leaves when it has gone."""
        self.fleet.engine.close()
        right = self._roots[1]
        end = CLOCK.monotonic() + 10
        while left := right.own_directories():
            assert CLOCK.monotonic() < end, f"left behind: {left}"
            CLOCK.sleep(0.05)
        self.compare("at the end", EVERYWHERE)
        if RECORD:
            _record({"case": "everything", "state": "at the end", "real": True, "operations": []})

    def _filled_in(self, body: str) -> str:
        """The recipe with what is only known now."""
        body = body.replace("HTTP://", f"{self._web.url}/").replace("SSH_PORT", str(self.left.port))
        body = body.replace("HOST_ADDRESS", str(self.left.address))
        digest = hashlib.sha256((self.fleet.recipes / "large.bin").read_bytes()).hexdigest()
        return body.replace("SHA256:large.bin", digest)

    # ------------------------------------------------------------------ the two tools

    def _downloaded(self, side: str) -> dict[str, bytes]:
        """What they have downloaded; where there was nothing to download, pyinfra leaves an empty file."""
        files = {file.name: file.read_bytes() for file in self._local(side).iterdir()}
        return {name: content for name, content in files.items() if content}

    def _local(self, side: str) -> Path:
        """Where recipes of one of them download to."""
        place = self.directory / side
        place.mkdir(exist_ok=True)
        return place

    def _pyinfra(self, body: str) -> tuple[list[str], str]:
        # Not among opsflow's recipes, so that these stay as they are, and with them what it remembers.
        deploy = self.directory / f"deploy{self._count}.py"
        body = body.replace("LOCAL", str(self._local("left")))
        deploy.write_text(f"{imports(body)}\n{body}\n")
        known = self.directory / "known_hosts"
        address = f"[{self.left.address}]:{self.left.port}" if self.left.port != 22 else self.left.address
        known.write_text("".join(f"{address} {key}\n" for key in self.left.host_keys))
        data = {
            "ssh_hostname": self.left.address,
            "ssh_port": self.left.port,
            "ssh_user": self.user,
            "ssh_key": self.left.key_file,
            "ssh_known_hosts_file": str(known),
            "ssh_strict_host_key_checking": "yes",
        }
        inventory = self.directory / "inventory.py"
        inventory.write_text(f"hosts = [('twin', {data!r})]\n")
        result = subprocess.run(
            [Path(sys.executable).parent / "pyinfra", inventory, deploy, "-y"],
            capture_output=True, text=True, timeout=240, cwd=self.fleet.recipes, check=False, errors="backslashreplace",
        )  # fmt: skip
        deploy.unlink()
        outcomes = [OUTCOMES[found] for found in OUTCOME.findall(result.stderr)]
        # An exception of an operation ends pyinfra before it says anything about that operation.
        raised = ["failed"] if result.stderr.count(STARTED) > len(outcomes) else []
        return [*outcomes, *raised], result.stderr + result.stdout

    def _opsflow(self, body: str) -> tuple[list[tuple[str, str]], str]:
        """The same text is the same recipe each time, so that what opsflow remembers of a host is used."""
        body = body.replace("LOCAL", str(self._local("right")))
        module = f"case_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        text = f"{imports(body)}\ndef setup(node):\n{textwrap.indent(body, '    ')}\n"
        file = self.fleet.recipes / f"{module}.py"
        if not file.exists():
            file.write_text(text)
        machine = self.right.model_copy(update={"user": self.user})
        job = self.fleet.job(machine, f"{module}.setup", name="twin", timeouts={"command": 60})
        event = job.node.event.model_copy(update={"run": f"{self._count}", "command": f"{self._count}-1"})
        job = replace(job, run=event.run, command=event.command, node=job.node.model_copy(update={"event": event}))
        result = self.fleet.engine.run(job, lambda event: None, threading.Event())
        ran = [each for each in result.operations if each.status is not OperationStatus.NOT_RUN]
        return [(each.operation, each.status.value) for each in ran], result.error


def imports(body: str) -> str:
    """Import what the operations need, and no more: each module takes time in each plan."""
    import pyinfra.operations

    folder = Path(pyinfra.operations.__file__).parent
    names = sorted({*re.findall(r"\b([a-z]\w+)\.\w+\(", body)})
    used = [name for name in names if (folder / f"{name}.py").exists()]
    return f"from pyinfra import host\nfrom pyinfra.operations import {', '.join([*used, 'server'])}"


def interruptions_of(body: str, count: int) -> list[str]:
    """The recipe cut off by a failure after some of its operations: in the middle, or at more places."""
    statements = ast.parse(textwrap.dedent(body)).body
    cuts = sorted({len(statements) * part // (count + 1) for part in range(1, count + 1)} - {0, len(statements)})
    failure = "server.shell(name='The power fails', commands='exit 9')"
    return ["\n".join([*map(ast.unparse, statements[:cut]), failure]) for cut in cuts]


def _record(line: object) -> None:
    with Path(RECORD).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(line)}\n")
