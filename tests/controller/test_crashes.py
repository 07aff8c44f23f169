"""The process dies at every point in turn; the next one sees what happened and goes on, and no machine is lost."""

import threading

import pytest
from controller_world import EVERYONE, ControllerWorld, shop

from opsflow.controller import Targets
from opsflow.controller.tokens import token_of
from opsflow.errors import LockHeld, StoreError
from opsflow.model.command import RunStatus
from opsflow.model.machine import MachineRequest


class Killed(BaseException):
    """What kill -9 is to a test: nothing below may handle it, and nothing happens after it."""


class Bomb:
    """Counts the points at which the process may die, and dies at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count, self.dead = at, 0, False
        self.lock = threading.Lock()

    def tick(self) -> None:
        with self.lock:
            if self.dead:
                raise Killed
            self.count += 1
            if self.count == self.at:
                self.dead = True
                raise Killed


class Mortal:
    """Passes every call on; before and after each of the named ones the process may die."""

    def __init__(self, inner, bomb, *names) -> None:
        self._inner, self._bomb, self._names = inner, bomb, names

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if name not in self._names:
            return value

        def call(*args, **kwargs):
            self._bomb.tick()
            result = value(*args, **kwargs)
            self._bomb.tick()
            return result

        return call


def die_at(world, point, action) -> bool:
    """Do ``action`` in a process that dies at the ``point``-th opportunity; whether it did."""
    bomb = Bomb(point)
    try:
        with world.controller(
            store=Mortal(world.store, bomb, "commit"),
            compute=Mortal(world.compute, bomb, "create", "start", "stop", "terminate"),
            engine=Mortal(world.engine, bomb, "run"),
        ) as controller:
            controller.recover()
            action(controller)
    except Killed:
        return True
    return False


def check_consistent(world):
    """What must be true after recover, before anything else was done."""
    assert world.store.commands(stack="shop", unfinished=True) == ()
    assert not [run for run in world.store.runs("shop", limit=99) if run.status is RunStatus.RUNNING]
    assert "running_setup" not in world.statuses().values()


def check_whole(world, expected):
    """What must be true when the next up is over."""
    assert world.online() == expected
    assert world.plan().empty
    assert len(world.compute.machines) == len(world.statuses())
    assert {machine.token for machine in world.compute.machines} == {
        state.token for state in world.store.state("shop").instances.values()
    }


def small(**changes):
    layers = {
        "lb": {"recipes": ["base", "haproxy"], "instances": {"lb1": {}}},
        "app": {"recipes": ["base", "release"], "instances": {"app1": {}}},
    }
    return shop(layers=layers, **changes)


def points(make, action):
    """Every point at which the process can die during ``action``."""
    point = 1
    while True:
        world = make()
        died = die_at(world, point, action)
        yield point, world
        if not died:
            return
        point += 1


def built(stack=None):
    world = ControllerWorld(stack or small())
    world.up()
    return world


def apply(controller):
    controller.apply(controller.plan_up())


def test_up_of_a_new_stack():
    count = 0
    for point, world in points(lambda: ControllerWorld(small()), apply):
        with world.controller() as controller:
            controller.recover()
            check_consistent(world)
            controller.apply(controller.plan_up())
        check_whole(world, {"lb1", "app1"})
        count = point
    assert count > 50


def test_adding_and_removing_an_instance():
    def make():
        world = built(small(instances={"old": {"layers": ["app"]}}))
        world.change(small(instances={"new": {"layers": ["app"]}}))
        return world

    for _, world in points(make, apply):
        with world.controller() as controller:
            controller.recover()
            check_consistent(world)
            controller.apply(controller.plan_up())
        check_whole(world, {"lb1", "app1", "new"})


def test_stop_and_start():
    def action(controller):
        controller.stop(Targets(only=("app1",)))
        controller.start(Targets(only=("app1",)))

    for _, world in points(built, action):
        with world.controller() as controller:
            controller.recover()
            check_consistent(world)
            controller.apply(controller.plan_up())
        check_whole(world, {"lb1", "app1"})


def test_destroy():
    for _, world in points(built, lambda controller: controller.destroy()):
        with world.controller() as controller:
            controller.recover()
            check_consistent(world)
            controller.destroy()
        assert world.statuses() == {}
        assert world.compute.machines == []


def test_deploy_and_setup_in_place():
    def action(controller):
        controller.deploy("storefront", "b" * 40)
        world_now = controller.plan_up()
        controller.apply(world_now)

    def make():
        world = built()
        world.catalog.versions["base"] = 2
        return world

    for _, world in points(make, action):
        with world.controller() as controller:
            controller.recover()
            check_consistent(world)
            controller.apply(controller.plan_up())
        check_whole(world, {"lb1", "app1"})
        assert world.state("app1").apps["storefront"].release in ("a" * 12, "b" * 12)


def test_dying_again_and_again_on_the_way_up():
    world = ControllerWorld()
    for point in (3, 7, 12, 5, 20, 9, 31, 2):
        die_at(world, point, apply)
    world.up()
    check_whole(world, EVERYONE)


def test_finished_shutdown_recipes_are_not_run_again():
    world = built()
    world.compute.fail("stop", "app1", times=1)
    original = world.compute.stop

    def die(machine):
        raise Killed

    world.compute.stop = die
    with pytest.raises(Killed), world.controller() as controller:
        controller.stop(Targets(only=("app1",)))
    world.compute.stop = original
    world.compute.heal()
    world.forget()
    assert world.statuses()["app1"] == "shutting_down"
    world.do(lambda c: c.destroy())
    assert ("app1", "base.shutdown") not in world.engine.ran
    assert ("lb1", "base.shutdown") in world.engine.ran


def test_recover_names_what_it_closed():
    world = ControllerWorld(small())
    gate = world.engine.hold("app1", "base.setup")

    bomb = Bomb(None)
    store = Mortal(world.store, bomb, "commit")
    thread = threading.Thread(target=_run_until_killed, args=(world, store))
    thread.start()
    assert gate.reached.wait(5)
    bomb.dead = True
    gate.go.set()
    thread.join()
    world.engine.heal()
    with world.controller() as controller:
        closed = {command.instance: command for command in controller.recover()}
        assert closed["app1"].status == "failed"
        assert closed["app1"].detail == "the controller ended while it ran"
        assert world.statuses()["app1"] == "setup_failed"
        run = world.store.runs("shop")[0]
        assert run.status is RunStatus.INTERRUPTED
        assert "run.interrupted" in world.listener.kinds()
        assert controller.recover() == ()


def _run_until_killed(world, store):
    try:
        with world.controller(store=store) as controller:
            apply(controller)
    except Killed:
        pass


def test_the_store_stays_as_it_is_when_it_cannot_be_written():
    world = built()
    world.change(small(instances={"app2": {"layers": ["app"]}}))
    world.listener.on_entry = lambda entry: setattr(
        world.backing, "failure", "no space left on device" if entry.kind == "instance.booting" else None
    )
    with pytest.raises(StoreError, match="no space left"):
        world.up()
    world.listener.on_entry = lambda entry: None
    world.backing.failure = None
    assert world.up().run.status is RunStatus.SUCCESSFUL
    check_whole(world, {"lb1", "app1", "app2"})


def test_a_controller_whose_lease_was_taken_over_stops_before_it_does_anything_more():
    world = built()

    def take_over(entry):
        if entry.kind == "instance.stopping":
            world.backing.epoch += 1

    world.listener.on_entry = take_over
    with world.controller() as controller, pytest.raises(LockHeld):
        controller.destroy()
    assert len(world.compute.machines) == 2
    assert world.engine.ran[-1][1] != "base.shutdown"


class TestStrangers:
    def test_a_machine_of_a_lost_record_is_taken_over(self):
        world = built()
        del world.backing.instances["shop", "app1"]
        outcome = world.up()
        assert "machine.adopted" in world.listener.kinds("app1")
        assert world.ran(outcome, "setup") == ["app1"]
        check_whole(world, {"lb1", "app1"})

    def test_an_older_machine_of_an_instance_is_ended(self):
        world = built()
        state = world.state("app1")
        world.compute.create(MachineRequest(token=token_of("shop", "app1", 3), stack="shop", instance="app1"))
        with world.controller() as controller:
            controller.recover()
        assert "machine.orphaned" in world.listener.kinds("app1")
        assert world.state("app1") == state
        check_whole(world, {"lb1", "app1"})

    def test_a_machine_that_nothing_explains_is_reported_and_left_alone(self):
        world = built()
        world.compute.create(MachineRequest(token="somebody-else", stack="shop", instance="x"))
        with world.controller() as controller:
            controller.recover()
        assert "machine.unknown" in world.listener.kinds()
        assert len(world.compute.machines) == 3
