"""A process was killed: whoever only looks sees nothing that runs, and what was finished is not done again."""

import pytest
from controller_world import ControllerWorld, shop

from opsflow.clock import ManualClock
from opsflow.controller import Targets, settle
from opsflow.controller.aftermath import close_all
from opsflow.model.command import RunStatus
from opsflow.model.state import InstanceStatus


def small(**changes):
    return shop(layers={"app": {"recipes": ["base", "release"], "instances": {"app1": {}}}}, **changes)


class Watched(ManualClock):
    """Tells when somebody waits."""

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        super().sleep(seconds)


class Killed(BaseException):
    """Nothing below may handle it."""


def killed_when(kind, world=None, number=1):
    """A world whose process dies right after so many entries of that kind were committed."""
    world, before = world or ControllerWorld(small()), number - 1

    def die(entry):
        nonlocal before
        if entry.kind == kind:
            if before == 0:
                raise Killed
            before -= 1

    world.listener.on_entry = die
    with pytest.raises(Killed):
        world.up()
    world.listener.on_entry = lambda entry: None
    return world


def everything(world):
    store = world.store
    runs = [run.status for run in store.runs("shop")]
    return runs, [command.status.value for command in store.commands(stack="shop")], world.statuses()


def test_looking_closes_what_nobody_carries_out():
    world = killed_when("command.started")
    assert everything(world) == ([RunStatus.RUNNING], ["running"], {"app1": "running_setup"})
    settle(world.store, world.clock, "somebody who looks")
    assert everything(world) == ([RunStatus.INTERRUPTED], ["failed"], {"app1": "setup_failed"})
    kinds = [entry.kind for entry in world.store.journal("shop")][-3:]
    assert kinds == ["command.failed", "run.interrupted", "instance.setup_failed"]
    assert world.state("app1").reason == "interrupted: the controller ended while it ran"


def test_looking_writes_nothing_when_nothing_is_open():
    world = ControllerWorld(small())
    world.up()
    before, epoch = world.store.journal("shop"), world.backing.epoch
    settle(world.store, world.clock, "somebody who looks")
    assert (world.store.journal("shop"), world.backing.epoch) == (before, epoch)


def test_looking_leaves_what_somebody_carries_out():
    world = ControllerWorld(small())
    seen = []

    def look(entry):
        if entry.kind == "command.started":
            settle(world.store, world.clock, "somebody who looks")
            seen.append(everything(world))

    world.listener.on_entry = look
    world.up()
    assert seen[0] == ([RunStatus.RUNNING], ["running"], {"app1": "running_setup"})


def test_two_who_look_at_once_both_see_what_is():
    world = killed_when("command.started")
    world.clock = Watched()
    other = world.store
    with other.lease("somebody else who looks") as lease:
        # Waiting for the lease is where the other one gets on.
        world.clock.on_sleep = lambda: close_all(other, lease, world.clock.now())
        settle(world.store, world.clock, "somebody who looks")
        assert everything(world) == ([RunStatus.INTERRUPTED], ["failed"], {"app1": "setup_failed"})


def test_the_next_writer_closes_what_other_stacks_left_open():
    world = killed_when("command.started")
    world.change(small(stack="other"))
    with world.controller() as controller:
        assert controller.recover() == ()
    assert everything(world) == ([RunStatus.INTERRUPTED], ["failed"], {"app1": "setup_failed"})


def test_looking_works_where_nothing_can_be_written():
    world = killed_when("command.started")
    world.backing.failure = "read-only file system"
    before = everything(world)
    settle(world.store, world.clock, "somebody who looks")
    assert everything(world) == before


def setups(world):
    return [job[1] for job in world.engine.ran if job[1].endswith(".setup")]


def ran(world):
    return [job[1] for job in world.engine.ran if job[1] in ("base.setup", "release.deploy")]


def test_a_setup_that_was_finished_is_not_run_again():
    world = killed_when("command.successful")
    settle(world.store, world.clock, "somebody who looks")
    setup, deploy = (next(step for step in world.plan().steps if step.kind == kind) for kind in ("setup", "deploy"))
    assert (setup.recipes, deploy.recipes) == ((), ("release.deploy",))
    assert setup.reason == "it goes on after its setup: interrupted: the controller ended while it ran"
    world.up()
    assert ran(world) == ["base.setup", "release.deploy"]
    assert world.online() == {"app1"}
    assert world.plan().empty


def test_neither_is_the_deploy_after_it():
    world = killed_when("command.successful", number=2)
    assert world.statuses() == {"app1": "running_setup"}
    settle(world.store, world.clock, "somebody who looks")
    plan = world.plan()
    assert [(step.kind.value, step.recipes) for step in plan.steps][:1] == [("setup", ())]
    assert "deploy" not in [step.kind for step in plan.steps]
    assert plan.steps[0].reason.startswith("it goes on after its deploy: ")
    world.up()
    assert ran(world) == ["base.setup", "release.deploy"]
    assert world.online() == {"app1"}
    assert world.plan().empty


def test_a_deploy_that_failed_is_run_again_although_an_earlier_one_was_finished():
    world = ControllerWorld(small())
    world.up()
    world.catalog.versions["base"] = 2
    killed_when("command.successful", world)
    world.forget()
    world.up()
    assert ran(world) == ["release.deploy"]


def test_a_setup_that_was_finished_is_run_again_when_its_recipes_changed():
    world = killed_when("command.successful")
    world.catalog.versions["base"] = 2
    world.up()
    assert setups(world) == ["base.setup", "base.setup"]
    assert world.online() == {"app1"}


def test_a_setup_that_failed_is_run_again_although_an_earlier_one_was_finished():
    world = ControllerWorld(small())
    world.up()
    world.catalog.versions["base"] = 2
    killed_when("command.started", world)
    world.catalog.versions["base"] = 1
    world.forget()
    world.up()
    assert setups(world) == ["base.setup"]


def test_a_stopped_instance_is_set_up_when_it_starts_again():
    world = ControllerWorld(small())
    world.up()
    world.do(lambda controller: controller.stop(Targets()))
    world.forget()
    world.up()
    assert setups(world) == ["base.setup"]
    assert world.state("app1").status is InstanceStatus.ONLINE
