"""Real hosts for tests of the engine: sandboxes, and the shortest way to run recipes on them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine, MachineRequest
from opsflow.model.result import HostResult
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import HostEvent, HostJob
from opsflow.providers.compute.sandbox import SandboxProvider

CLOCK = SystemClock()
IMPORTS = "from pyinfra import host\nfrom pyinfra.operations import apt, crontab, files, server\n"


class Fleet:
    """Sandboxes, an engine, and a directory of recipes."""

    def __init__(self, directory: Path) -> None:
        self.recipes = directory / "recipes"
        self.recipes.mkdir()
        self.provider = SandboxProvider(directory / "sandbox", CLOCK)
        self.engine = PyinfraEngine([self.recipes], CLOCK)
        self.events: list[HostEvent] = []
        self._machines: list[Machine] = []
        self._count = 0

    def create(self, *names: str) -> list[Machine]:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(self._create, names))
        self._machines += made
        return made

    def _create(self, name: str) -> Machine:
        machine = self.provider.create(MachineRequest(token=f"engine-{name}-0001", stack="engine", instance=name))
        why = self.engine.wait_ready(machine, Ssh(), 60, threading.Event())
        assert why is None, why
        return machine

    def terminate(self, machine: Machine) -> None:
        self.provider.terminate(machine)
        self._machines = [other for other in self._machines if other.id != machine.id]

    def close(self) -> None:
        self.engine.close()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.provider.terminate, self._machines))

    def rest(self) -> None:
        """Let go of every host, as at the end of a process."""
        self.engine.close()
        self.engine = PyinfraEngine([self.recipes], CLOCK)

    def write(self, text: str, name: str = "") -> str:
        """Write a recipe module; returns the name of its `setup`."""
        self._count += 1
        module = name or f"recipe{self._count}"
        (self.recipes / f"{module}.py").write_text(IMPORTS + textwrap.dedent(text))
        return f"{module}.setup"

    def job(self, machine: Machine, *recipes: str, **more: Any) -> HostJob:
        name = more.pop("name", "host1")
        node = NodeSnapshot(
            stack="engine",
            name=name,
            layers=("web",),
            members=(MemberSnapshot(name=name, layers=("web",), status="online", address=machine.address),),
            layer_names=("web",),
            event=EventSnapshot(type="setup", reason="test", run="1", command="1-1", sent_at=CLOCK.now().isoformat()),
            secrets=more.pop("secrets", ()),
        )
        timeouts = Timeouts(**more.pop("timeouts", {}))
        values = {"run": "1", "command": "1-1", "epoch": 1, "machine": machine, "ssh": Ssh(), "node": node}
        return HostJob(**(values | {"recipes": recipes, "timeouts": timeouts} | more))

    def run(self, machine: Machine, text: str, cancel: threading.Event | None = None, **more: Any) -> HostResult:
        """Run the recipe of this text on one machine."""
        self.events = []
        job = self.job(machine, self.write(text), **more)
        return self.engine.run(job, self.events.append, cancel or threading.Event())

    def start(self, machine: Machine, text: str, cancel: threading.Event | None = None, **more: Any) -> Running:
        return Running(lambda: self.run(machine, text, cancel, **more))

    def shell(self, machine: Machine, command: str, timeout: float = 60) -> str:
        """What a command on the host prints; it must succeed."""
        out: dict[str, bytes] = {"stdout": b"", "stderr": b""}

        def hear(stream: str, data: bytes) -> None:
            out[stream] += data

        code = self.engine.exec(machine, Ssh(), command, timeout=timeout, output=hear)
        assert code == 0, (command, code, out)
        return out["stdout"].decode()


class Running:
    """Something under way in a thread."""

    def __init__(self, action: Any) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(action)

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self, timeout: float = 60) -> Any:
        try:
            return self._future.result(timeout)
        finally:
            self._pool.shutdown(wait=False)


@contextmanager
def open_fleet(directory: Path, *names: str) -> Iterator[Fleet]:
    fleet = Fleet(directory)
    try:
        fleet.create(*names)
        yield fleet
    finally:
        fleet.close()


def statuses(result: HostResult) -> list[str]:
    return [operation.status.value for operation in result.operations]


def as_user(machine: Machine, user: str) -> Machine:
    return machine.model_copy(update={"user": user})


def add_user(fleet: Fleet, machine: Machine, user: str, more: str = "") -> Machine:
    """A user with passwordless sudo whom sshd lets in."""
    fleet.shell(
        machine,
        f"useradd -m {more} {user} && usermod -p '*' {user} && mkdir -p /etc/sudoers.d &&"
        f" echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user}",
    )
    return as_user(machine, user)


def until(condition: Any, seconds: float = 15) -> Any:
    end = CLOCK.monotonic() + seconds
    while not (value := condition()):
        assert CLOCK.monotonic() < end, "it did not happen"
        CLOCK.sleep(0.03)
    return value


def outputs(result: HostResult) -> Sequence[str]:
    return [command.stdout for operation in result.operations for command in operation.commands]


ENGINE_PROCESS = """
import json, sys, threading
from pathlib import Path
from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine
sys.path.insert(0, {tests!r})
from engine_hosts import Fleet

class Outside(Fleet):
    def __init__(self):
        self.recipes, self._count = Path({recipes!r}), 1000
        self.engine = PyinfraEngine([self.recipes], SystemClock())

fleet = Outside()
machine = Machine.model_validate_json({machine!r})
result = fleet.engine.run(fleet.job(machine, {recipe!r}, **{more!r}), lambda event: None, threading.Event())
print(result.model_dump_json(), flush=True)
fleet.engine.close()
"""


def engine_process(
    fleet: Fleet, machine: Machine, text: str, prefix: tuple[str, ...] = (), **more: object
) -> subprocess.Popen[bytes]:
    """The engine in a process of its own, which can be killed."""
    return recipe_process(fleet, machine, fleet.write(text), prefix, **more)


def recipe_process(
    fleet: Fleet, machine: Machine, recipe: str, prefix: tuple[str, ...] = (), **more: object
) -> subprocess.Popen[bytes]:
    """The same for a recipe that is already written."""
    source = ENGINE_PROCESS.format(
        tests=str(Path(__file__).parent),
        recipes=str(fleet.recipes),
        machine=machine.model_dump_json(),
        recipe=recipe,
        more=more,
    )
    argv = [*prefix, sys.executable, "-c", source]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)


def answer(process: subprocess.Popen[bytes], timeout: float = 60) -> dict[str, object]:
    out, _ = process.communicate(timeout=timeout)
    value: dict[str, object] = json.loads(out.splitlines()[-1])
    return value
