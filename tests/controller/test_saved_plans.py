"""A plan that is carried out later is refused when something that it was made from has changed."""

import pytest
from controller_world import EVERYONE, ControllerWorld

from opsflow.controller import Controller
from opsflow.errors import SourceError, StalePlan
from opsflow.planning import Plan


def saved(world: ControllerWorld) -> Plan:
    planner = world.planner()
    return Plan.model_validate_json(planner.with_sources(planner.plan_up()).model_dump_json())


def apply(world: ControllerWorld, plan: Plan):
    return world.do(lambda controller: controller.apply(plan))


def test_another_revision_is_another_plan():
    world = ControllerWorld()
    plan = saved(world)
    assert plan.fingerprint.sources == {"storefront": "a" * 40}
    world.sources.head = "b"
    with pytest.raises(StalePlan, match=f"the source of storefront .{'a' * 40}, now {'b' * 40}. changed since"):
        apply(world, plan)
    assert world.engine.jobs == []
    world.sources.head = "a"
    world.forget()
    apply(world, plan)
    assert world.online() == EVERYONE
    assert world.sources.fetched == [("storefront", None)]


def test_a_source_that_cannot_be_fetched_any_more_refuses_it():
    world = ControllerWorld()
    plan = saved(world)
    world.sources.broken = "gone"
    with pytest.raises(SourceError):
        apply(world, plan)
    assert world.engine.jobs == []


def test_nothing_is_fetched_for_a_plan_that_is_not_saved_or_deploys_nothing():
    world = ControllerWorld()
    world.planner().plan_up()
    assert world.sources.fetched == []
    world.up()
    world.compute.halt("lb1")
    world.forget()
    assert saved(world).fingerprint.sources == {}
    assert world.sources.fetched == []


def test_a_saved_plan_that_saw_an_ended_machine_can_be_carried_out():
    world = ControllerWorld()
    world.up()
    world.compute.halt("lb1")
    plan = saved(world)
    assert not plan.empty
    apply(world, plan)
    assert world.online() == EVERYONE
    assert world.planner().plan_up().empty


def test_a_machine_that_ended_since_is_told():
    world = ControllerWorld()
    world.up()
    world.compute.halt("lb1")
    plan = saved(world)
    world.compute.halt("app1")
    with pytest.raises(StalePlan, match=r"the machine of app1 \(.* up, .*, now .* stopped, "):
        apply(world, plan)


def test_what_another_one_did_in_the_meantime_is_told():
    world = ControllerWorld()
    plan = saved(world)
    world.up()
    with pytest.raises(StalePlan, match="the state of the stack"):
        apply(world, plan)
    world.do(Controller.destroy)
