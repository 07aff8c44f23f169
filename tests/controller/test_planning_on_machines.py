"""A plan sees the machines that are there, as `up` does, and writes nothing."""

import pytest
from controller_world import EVERYONE, ControllerWorld

from opsflow.errors import ProviderError


@pytest.fixture
def running() -> ControllerWorld:
    world = ControllerWorld()
    world.up()
    return world


def steps(plan, name):
    return [step.kind.value for step in plan.steps if step.instance == name]


def do_and_plan(world):
    """What `up` plans once it has the lease."""
    with world.controller() as controller:
        controller.recover()
        return controller.plan_up()


@pytest.mark.parametrize(("happens", "first"), [("halt", "start"), ("vanish", "create"), ("nothing", "")])
def test_a_plan_without_the_lease_sees_what_up_sees(running, happens, first):
    if happens != "nothing":
        getattr(running.compute, happens)("app1")
    journal = running.store.journal("shop")
    seen = running.planner().plan_up()
    assert running.store.journal("shop") == journal
    assert running.online() == EVERYONE
    assert seen.steps == do_and_plan(running).steps
    if first:
        assert steps(seen, "app1") == [first, "setup", "deploy", "configure"]
        assert steps(seen, "lb1") == ["configure"]


def test_a_plan_of_an_event_does_not_reach_an_instance_whose_machine_ended(running):
    running.compute.halt("app1")
    plan = running.planner().plan_recipes(("base.report",))
    assert {step.instance for step in plan.steps} == EVERYONE - {"app1"}


def test_a_plan_fails_as_up_does_when_the_provider_cannot_say(running):
    running.compute.fail("list", message="the inventory is gone")
    with pytest.raises(ProviderError, match="the inventory is gone"):
        running.planner().plan_up()
