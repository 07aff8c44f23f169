"""What every engine promises; runs over the fake, pyinfra with a real host, and an agent that keeps either."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.engine.agent.client import AgentEngine
from opsflow.engine.agent.server import Agent, Services
from opsflow.engine.agent.start import connect, listen
from opsflow.engine.fake import FakeEngine
from opsflow.errors import HostsUnreachable, RecipeError, RunFailed, UsageError
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.model.result import HostStatus, OperationStatus
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import Engine, HostEvent, HostJob, Mode, OperationEnded, OutputReceived, PhaseChanged
from opsflow.providers.compute.sandbox import SandboxProvider

CLOCK = SystemClock()
SECRET = "hunter2hunter2"
RECIPES = {
    "good": """
        files.put(name="File", src=StringIO("x"), dest=f"/srv/{node.name}")
        """,
    "bad": """
        server.shell(name="Fail", commands=["echo hunter2hunter2 >&2; exit 3"])
        """,
    "endless": """
        server.shell(name="Wait", commands=["echo begun; sleep 600"])
        """,
    "refused": """
        files.put(name="Typo", source="x")
        """,
}
HEAD = """from io import StringIO

from pyinfra.operations import files, server


def setup(node):
"""


class World:
    """An engine, a machine that works and one that does not, and recipes that end in every way."""

    real = False

    def __init__(self, engine: Engine, machine: Machine) -> None:
        self.engine = engine
        self.machine = machine
        self.dead = machine.model_copy(update={"id": "dead", "token": "dead-dead", "port": 1})

    def job(self, *recipes: str, name: str = "web1", **more: Any) -> HostJob:
        node = NodeSnapshot(
            stack="shop",
            name=name,
            layers=("web",),
            members=(MemberSnapshot(name=name, layers=("web",), status="online"),),
            layer_names=("web",),
            event=EventSnapshot(type="setup", reason="test"),
            secrets=(SECRET,),
        )
        values = {"run": "1", "command": "1-1", "epoch": 1, "machine": self.machine, "ssh": Ssh(), "node": node}
        names = tuple(f"{recipe}.setup" for recipe in recipes)
        return HostJob(**(values | {"recipes": names} | more))

    def run(self, job: HostJob, cancel: threading.Event | None = None) -> tuple[Any, list[HostEvent]]:
        events: list[HostEvent] = []
        return self.engine.run(job, events.append, cancel or threading.Event()), events


class FakeWorld(World):
    def __init__(self) -> None:
        engine = FakeEngine(CLOCK)
        engine.fail(recipe="bad.*", error=f"password {SECRET}")
        engine.hang(recipe="endless.*")
        engine.refuse("refused.setup")
        engine.unreachable("dead")
        engine.never_ready("dead")
        engine.exec_answers["both"] = (3, b"\xff\x00out", b"err")
        super().__init__(engine, Machine(id="m1", token="t" * 8, state=MachineState.RUNNING, address="127.0.0.1"))


class RealWorld(World):
    real = True

    def __init__(self, directory: Path, parts: ExitStack) -> None:
        (recipes := directory / "recipes").mkdir(parents=True)
        for name, body in RECIPES.items():
            (recipes / f"{name}.py").write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    "))
        provider = SandboxProvider(directory / "sandbox", CLOCK)
        machine = provider.create(MachineRequest(token="contract-engine", stack="shop", instance="web1"))
        parts.callback(provider.terminate, machine)
        engine = PyinfraEngine([recipes], CLOCK)
        parts.callback(engine.close)
        super().__init__(engine, machine)
        assert engine.wait_ready(machine, Ssh(), 60, threading.Event()) is None


@contextmanager
def through_agent(world: World, directory: Path) -> Iterator[World]:
    """The same world through an agent that keeps its engine."""
    path = directory / "agent.sock"
    listener = listen(path)
    agent = Agent(listener, path.stem, lambda: Services(world.engine), CLOCK, 600)
    serving = threading.Thread(target=agent.serve)
    serving.start()
    found = connect(path)
    assert found is not None
    world.engine = AgentEngine(found.socket, _never, pytest.fail)
    try:
        yield world
    finally:
        world.engine.close()
        agent.stop()
        serving.join()
        listener.close()
        agent.close()


def _never() -> Engine:
    raise AssertionError("there is an agent")


REAL = pytest.mark.sandbox


@pytest.fixture(
    scope="module",
    params=["fake", "agent of fake", pytest.param("pyinfra", marks=REAL), pytest.param("agent of pyinfra", marks=REAL)],
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("engine")
    with ExitStack() as parts:
        made = RealWorld(directory, parts) if "pyinfra" in request.param else FakeWorld()
        yield parts.enter_context(through_agent(made, directory)) if "agent" in request.param else made


def statuses(operations: Sequence[Any]) -> list[OperationStatus]:
    return [operation.status for operation in operations]


def test_a_run_tells_its_phases_and_operations_and_then_the_same_as_its_result(world: World) -> None:
    result, events = world.run(world.job("good", name="told"))
    assert result.status is HostStatus.OK, result
    phases = [event.phase for event in events if isinstance(event, PhaseChanged)]
    assert phases[0] == "connecting"
    assert phases[-1] == "running"
    assert {event.instance for event in events if not isinstance(event, OperationEnded)} == {"told"}
    assert tuple(event.result for event in events if isinstance(event, OperationEnded)) == result.operations
    assert statuses(result.operations) == [OperationStatus.CHANGED]


def test_what_ran_before_changes_nothing(world: World) -> None:
    world.run(world.job("good", name="twice"))
    result, _ = world.run(world.job("good", name="twice"))
    assert statuses(result.operations) == [OperationStatus.UNCHANGED]


def test_check_mode_changes_nothing(world: World) -> None:
    job = world.job("good", name="checked", mode=Mode.CHECK)
    for _ in range(2):
        result, _events = world.run(job)
        assert result.status is HostStatus.OK
        assert len(result.operations) == 1


def test_nothing_runs_after_a_failure_and_secrets_are_masked(world: World) -> None:
    result, events = world.run(world.job("bad", "good", name="failing"))
    assert result.status is HostStatus.FAILED
    assert result.operations[0].status is OperationStatus.FAILED
    assert all(operation.status is OperationStatus.NOT_RUN for operation in result.operations[1:])
    printed = [event.data for event in events if isinstance(event, OutputReceived)]
    assert printed
    assert SECRET not in result.model_dump_json() + repr(printed)


def test_a_dead_host_is_a_result_and_delays_nobody(world: World) -> None:
    dead = world.job("good", name="dead", machine=world.dead, timeouts=Timeouts(connect=3))
    with ThreadPoolExecutor(8) as threads:
        # Check mode: the one real machine takes one run at a time.
        jobs = [dead, *(world.job("good", name=f"many{number}", mode=Mode.CHECK) for number in range(7))]
        results = list(threads.map(lambda job: world.run(job)[0], jobs))
    assert [result.status for result in results] == [HostStatus.UNREACHABLE, *[HostStatus.OK] * 7], results
    assert [result.instance for result in results] == ["dead", *(f"many{number}" for number in range(7))]


def test_cancelling_ends_a_run(world: World) -> None:
    cancel = threading.Event()
    began = threading.Event()

    def observe(event: HostEvent) -> None:
        if isinstance(event, PhaseChanged) and event.phase == "running":
            began.set()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(world.engine.run, world.job("endless", name="cancelled"), observe, cancel)
        assert began.wait(30)
        assert not running.done()
        cancel.set()
        assert running.result(30).status is HostStatus.CANCELLED


def test_nothing_runs_when_it_was_cancelled_before(world: World) -> None:
    cancel = threading.Event()
    cancel.set()
    result, events = world.run(world.job("endless", name="early"), cancel)
    assert result.status is HostStatus.CANCELLED
    assert not any(isinstance(event, OutputReceived) for event in events)


def test_check_names_what_is_wrong(world: World) -> None:
    world.engine.check([world.job("good")])
    with pytest.raises(RecipeError) as caught:
        world.engine.check([world.job("good"), world.job("refused")])
    (problem,) = caught.value.problems
    assert problem.file.endswith("recipes/refused.py")
    assert problem.line


def test_wait_ready_says_why_not(world: World) -> None:
    assert world.engine.wait_ready(world.machine, Ssh(), 30, threading.Event()) is None
    assert "refused" in (world.engine.wait_ready(world.dead, Ssh(), 0.2, threading.Event()) or "")


def test_exec_gives_every_byte_and_the_exit_code(world: World) -> None:
    printed = {"stdout": b"", "stderr": b""}

    def output(stream: str, data: bytes) -> None:
        printed[stream] += data

    command = r"printf '\377\000out'; printf err >&2; exit 3" if world.real else "both"
    assert world.engine.exec(world.machine, Ssh(), command, timeout=30, output=output) == 3
    assert printed == {"stdout": b"\xff\x00out", "stderr": b"err"}
    with pytest.raises(HostsUnreachable):
        world.engine.exec(world.dead, Ssh(), command, timeout=30, output=output)


def test_exec_has_a_time_limit_and_can_be_cancelled(world: World) -> None:
    if not world.real:
        return  # the fake's commands take no time
    with pytest.raises(RunFailed, match="took more than"):
        world.engine.exec(world.machine, Ssh(), "sleep 600", timeout=0.5, output=lambda *_: None)
    cancel = threading.Event()
    with pytest.raises(RunFailed, match="was cancelled"):
        world.engine.exec(
            world.machine, Ssh(), "echo begun; sleep 600", timeout=60, output=lambda *_: cancel.set(), cancel=cancel
        )


def test_facts(world: World) -> None:
    assert world.engine.facts(world.machine, Ssh(), ["server.Os"]) == {"server.Os": "Linux"}
    with pytest.raises(UsageError):
        world.engine.facts(world.machine, Ssh(), ["server.Nope"])
    with pytest.raises(HostsUnreachable):
        world.engine.facts(world.dead, Ssh(), ["server.Os"])
