"""opsflow is killed with -9 at random moments: the next command shows what happened, and `up` goes on from there.

Each round kills one command. ``OPSFLOW_KILL_ROUNDS`` sets how many rounds there are, ``OPSFLOW_KILL_SEED`` repeats
the rounds of a failed test, whose seed is in its output.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scratch_project import CLOCK, ScratchProject, eventually

from opsflow.model.command import CommandStatus

pytestmark = pytest.mark.sandbox

ROUNDS = int(os.environ.get("OPSFLOW_KILL_ROUNDS", "8"))
SEED = int(os.environ.get("OPSFLOW_KILL_SEED") or random.SystemRandom().randrange(10**6))
NAMES = {"front1", "back1", "back2"}
START_UP = 0.5
"""Seconds in which a command has only imported its parts: few kills go there."""
COMMANDS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "up": (("up", "small", "-y"), 4.0),
    "deploy": (("deploy", "small", "site", "-y"), 1.5),
    "stop": (("stop", "small", "--only", "back*", "-y"), 3.5),
    "reboot": (("reboot", "small", "--only", "back1", "-y"), 1.2),
    "setup": (("run", "small", "setup", "-y"), 3.0),
    "destroy": (("destroy", "small", "-y"), 2.0),
}
"""What is killed, and after how many seconds at most; twice as long on a busy machine."""


class Chaos:
    """A small stack whose controller is killed again and again."""

    def __init__(self, project: ScratchProject, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.release = 0
        self.before = 0
        """How many commands there were when the round began."""

    def round(self, number: int) -> None:
        self.before = len(self.project.commands())
        there = bool(self.project.machines())
        what = "up" if not there else self.random.choice(("change", "deploy", "stop", "reboot", "setup", "destroy"))
        if what == "change":
            self.project.write_stack(greeting=f"hello {number}")
        if what in ("change", "deploy"):
            self.release += 1
            self.project.release(f"release {self.release}")
        self.kill("up" if what == "change" else what)
        self.look()
        then = self.random.random()
        if then < 0.25:
            self.destroy()
            return
        if then < 0.5:
            self.kill("up")
        self.converge()

    # ------------------------------------------------------------------------------------------- killing

    def kill(self, what: str) -> None:
        """Start a command and kill it at a random moment."""
        argv, longest = COMMANDS[what]
        after = START_UP + self.random.random() * longest
        with self.project.begun(*argv) as process:
            CLOCK.sleep(after)
            ended = process.poll() is not None
            # Only this process: what it started must notice by itself.
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[0]
        last = said.strip().splitlines()[-1:] or ["nothing was said"]
        how = "had ended" if ended else "was killed"
        print(f"{what} {how} after {after:.2f} s: {last[0]}")
        assert "Traceback" not in said, said

    # ------------------------------------------------------------------------------------------- what must be true

    def look(self) -> None:
        """Commands that only look work at once and show nothing that runs, because nothing does."""
        instances, runs = self.project.both(self.project.statuses, self.project.runs)
        running = [run["id"] for run in runs if run["status"] == "running"]
        assert running == [], f"runs that nobody carries out: {running}"
        unfinished = [command.id for command in self.project.commands() if not command.status.final]
        assert unfinished == [], f"commands that nobody carries out: {unfinished}"
        assert "running_setup" not in instances.values()
        # Whoever starts machines may end that first; planners have nobody to plan for.
        assert eventually(lambda: not self.project.helpers(), 10), self.project.helpers()

    def converge(self) -> None:
        """`up` brings everything to what the file says; nothing was lost, nothing is left over."""
        self.project.good("up", "small", "-y")
        instances, _ = self.project.both(
            self.project.instances, lambda: self.project.good("plan", "small", "--detailed-exitcode")
        )
        assert {name: each["status"] for name, each in instances.items()} == dict.fromkeys(NAMES, "online")
        self.every_machine_is_on_record(instances)
        self.hosts_are_as_declared(instances)
        self.nothing_ran_too_late_or_again(instances)
        self.nothing_finished_was_repeated()

    def destroy(self) -> None:
        """`destroy` leaves nothing, also of what is only half there."""
        self.project.good("destroy", "small", "-y")
        assert self.project.statuses() == dict.fromkeys(NAMES, "stopped")
        assert eventually(lambda: not self.left(), 5), self.left()

    def left(self) -> list[str]:
        """What is left, but for a trial of one that was killed before it made anything: the next one removes it."""
        return [each for each in self.project.leftovers() if not each.endswith("/machines/.trial")]

    def every_machine_is_on_record(self, instances: Mapping[str, Mapping[str, Any]]) -> None:
        recorded = {each["machine"] for each in instances.values()}
        machines = self.project.machines()
        assert machines.keys() == recorded
        sandbox = self.project.state / "sandbox"
        assert {path.name for path in (sandbox / "machines").iterdir()} == recorded
        assert {path.stem for path in (sandbox / "records").glob("*.json")} == recorded
        processes = {self.project.process(machine).pid for machine in machines}
        assert processes <= self.project.inhabitants().keys()
        logs = Counter(self.project.inhabitants().values())
        assert len(logs) == len(recorded)

    def hosts_are_as_declared(self, instances: Mapping[str, Mapping[str, Any]]) -> None:
        members = {name: self.project.on(each["machine"], "/srv/members") for name, each in instances.items()}
        assert members == dict.fromkeys(NAMES, "".join(f"{name}\n" for name in instances))
        greeting = self.project.stack_file.read_text().partition("{greeting: ")[2].partition("}")[0]
        assert {self.project.on(each["machine"], "/srv/greeting") for each in instances.values()} == {greeting}

    def nothing_ran_too_late_or_again(self, instances: Mapping[str, Mapping[str, Any]]) -> None:
        for name, each in instances.items():
            lines = self.project.on(each["machine"], "/srv/trace").splitlines()
            runs = [int(line.split()[2]) for line in lines]
            late = [(before, after) for before, after in pairwise(runs) if after < before]
            assert not late, f"{name}: a run went on after a later one had taken over: {lines}"
            # Configure follows every change of the membership, and there may be several.
            begun = Counter(line for line in lines if " begin " in line and "configure" not in line)
            assert set(begun.values()) <= {1}, f"{name}: done twice in one run: {begun}"

    def nothing_finished_was_repeated(self) -> None:
        """No round gives a reason to set up, deploy or shut down an instance twice."""
        done = Counter(
            (command.instance, command.type.value)
            for command in self.project.commands()[self.before :]
            if command.status is CommandStatus.SUCCESSFUL and command.type.value != "configure" and command.recipes
        )
        assert set(done.values()) <= {1}, f"finished recipes ran again: {done}"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ScratchProject]:
    project = ScratchProject(tmp_path / "project")
    yield project
    project.clean_up()


def test_killed_at_random_moments_and_brought_up_again(project: ScratchProject) -> None:
    print(f"OPSFLOW_KILL_SEED={SEED}")
    chaos = Chaos(project, SEED)
    for number in range(ROUNDS):
        chaos.round(number)
    chaos.destroy()


ONCE = '''\
"""What must run once and only once, whoever is killed meanwhile."""

from io import StringIO

from pyinfra.operations import files, server

from opsflow import Node


def setup(node: Node) -> None:
    for number in range(3):
        steps = [f"echo {{number}}.{{step}} >>/srv/{name}; sleep 0.1" for step in range(4)]
        server.shell(name=f"Steps {{number}}", commands=steps)
    config = files.put(name="Config", src=StringIO("{name}"), dest="/srv/config")
    server.shell(name="Slow", commands="sleep 0.6")
    server.shell(name="Restart", commands="echo restart >>/srv/{name}", _if=config.did_change)
'''
LINES = [f"{number}.{step}" for number in range(3) for step in range(4)] + ["restart"]


class Once:
    """Recipes that are not idempotent, of which nothing may be missing or there twice."""

    def __init__(self, project: ScratchProject, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)

    def round(self, number: int) -> None:
        """A recipe of its own, killed until it comes to its end before it is, or three times."""
        name = f"once{number}"
        self.project.recipe(ONCE.format(name=name), name)
        for _ in range(3):
            if self.killed(name):
                break
        else:
            self.project.good(*self.command(name))
        machine = self.project.instances()["front1"]["machine"]
        assert self.project.on(machine, f"/srv/{name}").split() == LINES, f"round {number}"

    def command(self, name: str) -> tuple[str, ...]:
        return ("run", "small", f"{name}.setup", "--only", "front1", "-y")

    def killed(self, name: str) -> bool:
        """Kill the command at a random moment; True when it had come to its end before."""
        with self.project.begun(*self.command(name)) as process:
            CLOCK.sleep(1.0 + self.random.random() * 3)
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[0].strip().splitlines()[-1:]
        print(f"{name} was killed: {said}")
        mine = [command for command in self.project.commands() if command.recipes == (f"{name}.setup",)]
        return bool(mine) and mine[-1].status is CommandStatus.SUCCESSFUL


def test_killed_at_random_moments_and_nothing_is_done_twice(project: ScratchProject) -> None:
    print(f"OPSFLOW_KILL_SEED={SEED}")
    project.good("up", "small", "-y")
    once = Once(project, SEED)
    for number in range(max(1, ROUNDS // 8)):
        once.round(number)
    project.good("destroy", "small", "-y")
