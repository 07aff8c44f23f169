"""Setup again on instances that serve: never more than half of a layer at once."""

import threading

import pytest
from controller_world import ControllerWorld, shop

from opsflow.errors import ExitCode
from opsflow.model.state import InstanceStatus


def farm(apps=4, **changes):
    layers = {
        "lb": {"recipes": ["base", "haproxy"], "instances": {"lb1": {}}},
        "app": {"recipes": ["base", "python_app"], "instances": {f"app{n}": {} for n in range(1, apps + 1)}},
    }
    return shop(layers=layers, apps={}, **changes)


@pytest.fixture
def world():
    world = ControllerWorld(farm())
    world.up()
    world.forget()
    return world


def watch(world, layer="app"):
    """How many of a layer were online, at every entry of the journal."""
    seen = []

    def look(entry):
        states = world.store.state("shop").instances.values()
        seen.append(sum(s.status is InstanceStatus.ONLINE for s in states if layer in s.layers))

    world.listener.on_entry = look
    return seen


def order(world, recipe):
    return [name for name, ran in world.engine.ran if ran == recipe]


@pytest.mark.parametrize(("apps", "least"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_never_fewer_than_half_of_a_layer_are_online(apps, least):
    world = ControllerWorld(farm(apps))
    world.up()
    world.forget()
    world.catalog.versions["base"] = 2
    seen = watch(world)
    outcome = world.up()
    assert outcome.exit_code is ExitCode.OK
    assert min(seen) >= least
    assert sorted(world.ran(outcome, "setup")) == sorted(world.stack.members)
    assert world.plan().empty


def test_the_next_batch_begins_when_the_one_before_is_online_and_all_have_configured(world):
    world.catalog.versions["base"] = 2
    world.up()
    ran = world.engine.ran
    second = min(ran.index(("app3", "base.setup")), ran.index(("app4", "base.setup")))
    configured = {name for name, recipe in ran[:second] if recipe == "base.configure"}
    assert configured == {"lb1", "app1", "app2", "app3", "app4"}
    (balancer,) = [job for job in world.engine.jobs if job.node.name == "lb1" and job.node.event.type == "configure"][
        -1:
    ]
    assert {member.name for member in balancer.node.members if member.online} == set(world.stack.members)


def test_a_batch_in_which_all_fail_stops_the_rest(world):
    world.catalog.versions["base"] = 2
    world.engine.fail("*", "base.setup", error="typo in a template")
    outcome = world.up()
    assert outcome.exit_code is ExitCode.FAILED
    assert world.online() == {"app3", "app4"}
    assert sorted(order(world, "base.setup")) == ["app1", "app2", "lb1"]
    assert set(outcome.failures) == {"app3", "app4"}
    assert "stays as it is" in outcome.failures["app3"]
    assert "it failed on lb1, app1, app2" in outcome.failures["app3"]
    world.engine.heal()
    assert world.up().exit_code is ExitCode.OK
    assert world.plan().empty


def test_what_did_not_come_back_counts_as_out_of_service(world):
    world.catalog.versions["base"] = 2
    world.engine.fail("app1", "python_app.setup")
    seen = watch(world)
    outcome = world.up()
    # app1 is out; beside it one more may go at a time, and of the second batch only one did.
    assert min(seen) >= 2
    assert world.online() == {"lb1", "app2", "app3", "app4"}
    assert list(outcome.failures) == ["app4"]
    assert "app1 of its layer app did not come online again" in outcome.failures["app4"]


def test_a_layer_in_which_everyone_failed_keeps_the_rest_though_others_went_well():
    world = ControllerWorld(farm(2))
    world.up()
    world.catalog.versions["base"] = 2
    world.engine.fail("app*", "python_app.setup")
    outcome = world.up()
    assert world.statuses() == {"lb1": "online", "app1": "setup_failed", "app2": "online"}
    assert "app1" in outcome.failures["app2"]
    # The next attempt begins with the one that is out, and goes no further when it fails again.
    world.up()
    assert world.statuses()["app2"] == "online"
    world.engine.heal()
    seen = watch(world)
    assert world.up().exit_code is ExitCode.OK
    assert min(seen) >= 1
    assert world.plan().empty


def test_nothing_more_begins_after_a_cancel(world):
    world.catalog.versions["base"] = 2
    cancel = threading.Event()
    world.listener.on_entry = lambda entry: cancel.set() if entry.kind == "instance.online" else None
    outcome = world.up(cancel)
    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert outcome.failures == {}
    assert {"app3", "app4"} <= world.online()
