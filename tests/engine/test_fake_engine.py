from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from opsflow.clock import ManualClock
from opsflow.engine.fake import FakeEngine
from opsflow.errors import HostsUnreachable, RecipeError, UsageError
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine, MachineState
from opsflow.model.result import HostResult, HostStatus, OperationStatus
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import Engine, HostEvent, HostJob, Mode, OperationEnded, OperationStarted, PhaseChanged

RECIPES = ("base.setup", "web.setup", "web.configure")


def job(instance: str = "web1", recipes: Sequence[str] = RECIPES, **more: object) -> HostJob:
    node = NodeSnapshot(
        stack="shop",
        name=instance,
        layers=("web",),
        members=(MemberSnapshot(name=instance, layers=("web",), status="online"),),
        layer_names=("web",),
        event=EventSnapshot(type="setup", reason="test"),
        secrets=("hunter2hunter2",),
    )
    machine = Machine(id=f"m-{instance}", token=f"token-{instance}", state=MachineState.RUNNING, address="127.0.0.1")
    values = {"run": "1", "command": "1-1", "epoch": 1, "machine": machine, "ssh": Ssh(), "node": node}
    return HostJob(**(values | {"recipes": tuple(recipes)} | more))  # type: ignore[arg-type]


class Runner:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.engine = FakeEngine(self.clock)
        self.events: list[HostEvent] = []
        self.cancel = threading.Event()

    def run(self, job: HostJob) -> HostResult:
        return self.engine.run(job, self.events.append, self.cancel)

    def begin(self, job: HostJob) -> tuple[threading.Thread, list[HostResult]]:
        results: list[HostResult] = []
        thread = threading.Thread(target=lambda: results.append(self.run(job)))
        thread.start()
        return thread, results


@pytest.fixture
def runner() -> Runner:
    return Runner()


def statuses(result: HostResult) -> list[OperationStatus]:
    return [operation.status for operation in result.operations]


def test_it_is_an_engine(runner: Runner) -> None:
    engine: Engine = runner.engine
    assert engine is runner.engine


def test_every_recipe_is_an_operation_that_changes_a_machine_once(runner: Runner) -> None:
    first, second = runner.run(job()), runner.run(job())
    assert first.ok
    assert second.ok
    assert statuses(first) == [OperationStatus.CHANGED] * 3
    assert statuses(second) == [OperationStatus.UNCHANGED] * 3
    assert [op.recipe for op in first.operations] == list(RECIPES)
    assert [item.node.name for item in runner.engine.jobs] == ["web1", "web1"]


def test_check_mode_changes_nothing(runner: Runner) -> None:
    assert statuses(runner.run(job(mode=Mode.CHECK))) == [OperationStatus.WOULD_CHANGE] * 3
    assert statuses(runner.run(job())) == [OperationStatus.CHANGED] * 3


def test_events_come_in_order(runner: Runner) -> None:
    runner.run(job(recipes=["a.setup"]))
    assert [event.phase for event in runner.events if isinstance(event, PhaseChanged)] == [
        "connecting",
        "planning",
        "running",
    ]
    assert [type(event) for event in runner.events[3:]] == [OperationStarted, OperationEnded]


def test_nothing_runs_after_a_failed_recipe_and_others_go_on(runner: Runner) -> None:
    runner.engine.fail("web1", "web.setup", error="no such package")
    bad, good = runner.run(job()), runner.run(job("web2"))
    assert bad.status is HostStatus.FAILED
    assert bad.detail == "web.setup: no such package"
    assert statuses(bad) == [OperationStatus.CHANGED, OperationStatus.FAILED, OperationStatus.NOT_RUN]
    assert bad.operations[1].exit_code == 1
    assert good.ok
    assert ("web1", "web.configure") not in runner.engine.ran


def test_a_limited_rule_is_used_up(runner: Runner) -> None:
    runner.engine.fail(recipe="web.*", times=1)
    assert not runner.run(job()).ok
    assert runner.run(job()).ok


def test_the_newest_rule_wins_and_heal_forgets_all(runner: Runner) -> None:
    runner.engine.fail()
    runner.engine.overrun("web1")
    assert runner.run(job()).status is HostStatus.TIMEOUT
    runner.engine.heal()
    assert runner.run(job()).ok


def test_secrets_are_masked(runner: Runner) -> None:
    runner.engine.fail(error="password hunter2hunter2 refused")
    result = runner.run(job())
    assert "hunter2" not in result.model_dump_json()
    assert "hunter2" not in repr(runner.events)


def test_an_unreachable_host_runs_nothing(runner: Runner) -> None:
    runner.engine.unreachable("web1")
    result = runner.run(job())
    assert result.status is HostStatus.UNREACHABLE
    assert statuses(result) == [OperationStatus.NOT_RUN] * 3


def test_a_host_vanishes_in_the_middle(runner: Runner) -> None:
    runner.engine.unreachable("web1", "web.setup")
    result = runner.run(job())
    assert result.status is HostStatus.UNREACHABLE
    assert statuses(result) == [OperationStatus.CHANGED, OperationStatus.FAILED, OperationStatus.NOT_RUN]


def test_a_hanging_recipe_ends_by_cancel(runner: Runner) -> None:
    runner.engine.hang("web1", "web.setup")
    thread, results = runner.begin(job())
    runner.cancel.set()
    thread.join(5)
    assert [result.status for result in results] == [HostStatus.CANCELLED]


def test_a_hanging_recipe_ends_by_the_time_limit_on_the_clock(runner: Runner) -> None:
    runner.engine.hang("web1")
    thread, results = runner.begin(job(timeouts=Timeouts(run=60)))
    while thread.is_alive():
        runner.clock.advance(61)
        thread.join(0.01)
    assert [result.status for result in results] == [HostStatus.TIMEOUT]


def test_a_held_recipe_waits_for_the_test(runner: Runner) -> None:
    gate = runner.engine.hold("web1", "web.setup")
    thread, results = runner.begin(job())
    assert gate.reached.wait(5)
    assert results == []
    gate.go.set()
    thread.join(5)
    assert results[0].ok


def test_nothing_runs_when_cancelled_before(runner: Runner) -> None:
    runner.cancel.set()
    assert runner.run(job()).status is HostStatus.CANCELLED
    assert runner.engine.ran == []


def test_check_reports_every_refused_recipe(runner: Runner) -> None:
    runner.engine.check([job()])
    runner.engine.refuse("web.setup", "uses _preserve_loop_vars")
    runner.engine.refuse("web.configure", "cannot be imported")
    with pytest.raises(RecipeError) as caught:
        runner.engine.check([job(), job("web2")])
    assert [problem.path for problem in caught.value.problems] == ["web.setup", "web.configure"]


def test_wait_ready(runner: Runner) -> None:
    machine = job().machine
    assert runner.engine.wait_ready(machine, Ssh(), 30, runner.cancel) is None
    runner.engine.never_ready("m-web1", "connection refused", times=1)
    before = runner.clock.monotonic()
    assert runner.engine.wait_ready(machine, Ssh(), 30, runner.cancel) == "connection refused"
    assert runner.clock.monotonic() - before == 30
    assert runner.engine.wait_ready(machine, Ssh(), 30, runner.cancel) is None


def test_exec_and_facts(runner: Runner) -> None:
    machine, seen = job().machine, []
    runner.engine.exec_answers["id"] = (3, b"root\n", b"oops\n")

    def output(stream: str, data: bytes) -> None:
        seen.append((stream, data))

    assert runner.engine.exec(machine, Ssh(), "id", timeout=5, output=output) == 3
    assert seen == [("stdout", b"root\n"), ("stderr", b"oops\n")]
    assert runner.engine.facts(machine, Ssh(), ["server.Os"]) == {"server.Os": "Linux"}
    with pytest.raises(UsageError, match=r"server\.Nope"):
        runner.engine.facts(machine, Ssh(), ["server.Nope"])
    runner.engine.never_ready("127.0.0.1")
    with pytest.raises(HostsUnreachable, match="connection refused"):
        runner.engine.exec(machine, Ssh(), "id", timeout=5, output=output)


def test_many_threads(runner: Runner) -> None:
    runner.engine.fail("web3")
    threads = [runner.begin(job(f"web{number}")) for number in range(20)]
    for thread, _ in threads:
        thread.join(5)
    assert [results[0].instance for _, results in threads if not results[0].ok] == ["web3"]
    assert len(runner.engine.jobs) == 20
