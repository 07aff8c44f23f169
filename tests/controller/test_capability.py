"""A system that cannot make machines is found out before anything is written down."""

import pytest
from controller_world import ControllerWorld

from opsflow.controller import Targets
from opsflow.errors import CannotRestart, CapabilityError


def test_up_does_nothing_where_machines_cannot_be_made():
    world = ControllerWorld()
    world.compute.fail("check", "*", message="no root")
    with pytest.raises(CapabilityError, match="no root"):
        world.up()
    assert world.statuses() == {}
    assert not world.store.runs()


def test_start_does_nothing_either():
    world = ControllerWorld()
    world.up()
    world.do(lambda controller: controller.stop(Targets(only=("app1",))))
    world.compute.fail("check", "*", message="no root")
    with pytest.raises(CapabilityError, match="no root"):
        world.do(lambda controller: controller.start(Targets(only=("app1",))))
    assert world.statuses()["app1"] == "stopped"


def test_destroy_needs_no_capability():
    world = ControllerWorld()
    world.up()
    world.compute.fail("check", "*", message="no root")
    world.do(lambda controller: controller.destroy())
    assert world.statuses() == {}


def test_reboot_is_refused_where_machines_cannot_be_restarted():
    world = ControllerWorld()
    world.up()
    world.compute.powers = False
    with pytest.raises(CannotRestart, match="cannot restart"):
        world.do(lambda controller: controller.reboot(Targets()))
    assert set(world.statuses().values()) == {"online"}
