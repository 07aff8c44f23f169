import threading

from controller_world import ControllerWorld, shop

from opsflow.controller import RunOptions
from opsflow.errors import ExitCode
from opsflow.model.command import RunStatus
from opsflow.model.events import LifecycleEvent


def cancel_when(world, kind, instance):
    """An event that is set when this entry is written."""
    cancel = threading.Event()

    def look(entry):
        if entry.kind == kind and entry.instance == instance:
            cancel.set()

    world.listener.on_entry = look
    return cancel


def check_quiet(world):
    assert world.store.commands(stack="shop", unfinished=True) == ()
    assert not [run for run in world.store.runs("shop", limit=99) if run.status is RunStatus.RUNNING]


def test_a_cancelled_up_leaves_setup_failed_and_nothing_running():
    world = ControllerWorld()
    world.engine.hang("app1", "base.setup")
    cancel = cancel_when(world, "command.started", "app1")
    outcome = world.up(cancel)
    assert outcome.run.status is RunStatus.CANCELLED
    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert world.statuses()["app1"] == "setup_failed"
    assert world.state("app1").reason == "cancelled"
    assert next(c.status for c in outcome.commands if c.instance == "app1") == "cancelled"
    check_quiet(world)
    world.engine.heal()
    assert world.up().exit_code is ExitCode.OK
    assert world.plan().empty


def test_a_start_that_is_broken_off_goes_on_later():
    world = ControllerWorld()
    world.compute.boot_seconds = 60
    cancel = cancel_when(world, "instance.pending", "app1")
    outcome = world.up(cancel)
    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert world.statuses()["app1"] == "pending"
    check_quiet(world)
    world.listener.on_entry = lambda entry: None
    world.up()
    assert len(world.compute.machines) == 4
    assert world.plan().empty


def test_a_cancelled_rollout_cancels_what_has_not_begun():
    apps = {f"app{n}": {} for n in range(1, 6)}
    world = ControllerWorld(shop(layers={"app": {"recipes": ["base"], "instances": apps}}, apps={}))
    world.up()
    world.engine.hang("app2")
    cancel = cancel_when(world, "command.started", "app2")
    outcome = world.do(lambda c: c.run_event(LifecycleEvent.CONFIGURE, options=RunOptions(serial=1), cancel=cancel))
    assert [c.status.value for c in outcome.commands] == ["successful"] + ["cancelled"] * 4
    assert set(world.statuses().values()) == {"online"}
    check_quiet(world)


def test_a_stop_that_is_broken_off_is_finished_by_the_next_up():
    world = ControllerWorld()
    world.up()
    world.engine.hang("app1", "base.shutdown")
    cancel = cancel_when(world, "command.started", "app1")
    outcome = world.do(lambda c: c.destroy(cancel))
    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert world.statuses()["app1"] == "shutting_down"
    check_quiet(world)
    world.engine.heal()
    world.do(lambda c: c.destroy())
    assert world.compute.machines == []


def test_configures_that_were_dropped_are_planned_by_the_next_up():
    world = ControllerWorld()
    world.up()
    world.change(shop(instances={"app3": {"layers": ["app"]}}))
    world.listener.on_entry = lambda entry: None
    cancel = cancel_when(world, "instance.online", "app3")
    world.up(cancel)
    assert {(step.kind.value, step.instance) for step in world.plan().steps} == {
        ("configure", name) for name in ("lb1", "app1", "app2", "store1", "app3")
    }
