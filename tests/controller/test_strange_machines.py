"""Machines that the records do not explain, and records whose machines another provider has."""

import pytest
from controller_world import ControllerWorld, shop

from opsflow.controller import Controller
from opsflow.errors import ConfigError
from opsflow.providers.compute.fake import FakeProvider


def small(*names, **changes):
    instances = {name: {} for name in names or ("app1", "app2")}
    return shop(layers={"app": {"recipes": ["base", "release"], "instances": instances}}, **changes)


def forgetful():
    """A stack that is up, and whose state was deleted."""
    world = ControllerWorld(small())
    world.up()
    for table in (world.backing.instances, world.backing.runs, world.backing.commands, world.backing.journal):
        table.clear()
    return world


def test_machines_of_a_deleted_store_are_taken_over():
    world = forgetful()
    before = {machine.id for machine in world.compute.machines}
    world.up()
    assert world.online() == {"app1", "app2"}
    assert {machine.id for machine in world.compute.machines} == before


def test_also_those_of_instances_that_have_left_the_file_meanwhile():
    world = forgetful()
    world.change(small("app1"))
    world.up()
    assert world.online() == {"app1"}
    assert len(world.compute.machines) == 1


def test_destroy_ends_them_all():
    world = forgetful()
    world.change(small("app3"))
    world.do(Controller.destroy)
    assert list(world.compute.machines) == []


@pytest.mark.parametrize("ask", [Controller.plan_up, Controller.plan_destroy, Controller.recover])
def test_another_provider_is_refused_while_there_are_machines(ask):
    world = ControllerWorld(small())
    world.up()
    other = FakeProvider(world.clock)
    other.name = "other"
    before = world.store.journal("shop")
    with world.controller(compute=other) as controller, pytest.raises(ConfigError) as refused:
        ask(controller)
    assert "is 'other', but the machines of app1, app2 were made by 'fake'" in refused.value.message
    assert "opsflow destroy shop" in refused.value.message
    assert world.store.journal("shop") == before


def test_another_provider_can_be_used_once_the_machines_are_gone():
    world = ControllerWorld(small())
    world.up()
    world.do(Controller.destroy)
    world.compute = FakeProvider(world.clock)
    world.compute.name = "other"
    world.up()
    assert world.online() == {"app1", "app2"}
    assert world.state("app1").provider == "other"
