"""A machine that is not the one that was set up, under the same token."""

from controller_world import EVERYONE, ControllerWorld

from opsflow.controller import Targets
from opsflow.model.machine import MachineState
from opsflow.providers.compute.fake import FakeProvider

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"


class Rekeyed(FakeProvider):
    """Machines whose host key becomes another one."""

    rekeyed = False

    def _seen(self, entry):
        machine = super()._seen(entry)
        mine = self.rekeyed and entry.instance == "app1"
        return machine.model_copy(update={"host_keys": (OTHER,)}) if mine else machine


def rekeyed() -> ControllerWorld:
    world = ControllerWorld()
    world.compute = Rekeyed(world.clock)
    world.up()
    world.do(lambda controller: controller.deploy("storefront", "b"))
    world.compute.rekeyed = True
    return world


def test_another_host_key_is_another_machine_which_has_nothing_of_the_old_one():
    world = rekeyed()
    assert world.state("app1").apps["storefront"].previous
    world.up()
    assert world.online() == EVERYONE
    state = world.state("app1")
    assert state.machine.host_keys == (OTHER,)
    assert state.apps["storefront"].revision == "b" * 40
    assert state.apps["storefront"].previous == ()


def test_an_interrupted_setup_of_the_old_machine_counts_for_nothing_on_the_new_one():
    world = ControllerWorld()
    world.compute = Rekeyed(world.clock)
    world.engine.fail("app1", "release.deploy", times=1)
    world.up()
    world.compute.rekeyed = True
    world.forget()
    world.up()
    assert ("app1", "base.setup") in world.engine.ran


def test_starting_it_by_hand_sets_it_up_too():
    world = rekeyed()
    world.do(lambda controller: controller.start(Targets(only=("app1",))))
    assert world.state("app1").machine.host_keys == (OTHER,)
    assert world.online() == EVERYONE


def test_another_address_alone_is_no_other_machine_where_the_provider_has_power_over_it():
    world = ControllerWorld()
    world.compute.moves = True
    world.up()
    for machine in world.compute.machines:
        if machine.instance == "app1":
            world.compute.reboot(machine.model_copy(update={"state": MachineState.RUNNING}))
    plan = world.planner().plan_up()
    assert {step.kind.value for step in plan.steps} == {"configure"}
