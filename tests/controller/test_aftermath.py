"""A process was killed: whoever only looks sees nothing that runs, and what was finished is not done again."""

from contextlib import ExitStack

import pytest
from controller_world import ControllerWorld, shop

from opsflow.controller import Targets, settle
from opsflow.model.command import RunStatus
from opsflow.model.state import InstanceStatus


def small():
    return shop(layers={"app": {"recipes": ["base", "release"], "instances": {"app1": {}}}})


class Killed(BaseException):
    """Nothing below may handle it."""


def killed_when(kind, world=None):
    """A world whose process dies right after an entry of that kind was committed."""
    world = world or ControllerWorld(small())

    def die(entry):
        if entry.kind == kind:
            raise Killed

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
    world = killed_when("command.started")
    before = everything(world)
    with ExitStack() as stack:
        stack.enter_context(world.store.lease("somebody who works"))
        settle(world.store, world.clock, "somebody who looks")
        assert everything(world) == before


def test_looking_works_where_nothing_can_be_written():
    world = killed_when("command.started")
    world.backing.failure = "read-only file system"
    before = everything(world)
    settle(world.store, world.clock, "somebody who looks")
    assert everything(world) == before


def setups(world):
    return [job[1] for job in world.engine.ran if job[1].endswith(".setup")]


def test_a_setup_that_was_finished_is_not_run_again():
    for kind in ("command.successful", "instance.online"):
        world = killed_when(kind)
        assert setups(world) == ["base.setup"]
        settle(world.store, world.clock, "somebody who looks")
        plan = world.plan()
        if kind == "command.successful":
            setup = next(step for step in plan.steps if step.kind == "setup")
            assert setup.recipes == ()
            assert setup.reason.startswith("its setup is done, what follows it is not")
        world.up()
        assert setups(world) == ["base.setup"]
        assert world.online() == {"app1"}
        assert world.plan().empty


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
