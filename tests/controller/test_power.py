import threading

import pytest
from controller_world import EVERYONE, ControllerWorld, shop

from opsflow.controller import Targets
from opsflow.errors import ExitCode, ProviderError, UsageError


@pytest.fixture
def world():
    world = ControllerWorld()
    world.up()
    world.forget()
    return world


def stop(world, *names):
    return world.do(lambda c: c.stop(Targets(only=names)))


def test_a_stop_runs_shutdown_keeps_the_machine_and_configures_the_others(world):
    outcome = stop(world, "app1")
    assert world.listener.statuses("app1") == ["stopping", "shutting_down", "stopped"]
    assert world.ran(outcome, "shutdown") == ["app1"]
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE - {"app1"})
    configure = next(job for job in world.engine.jobs if job.node.event.type == "configure")
    assert {m.name for m in configure.node.members if m.status == "online"} == EVERYONE - {"app1"}
    assert len(world.compute.machines) == 4
    assert not world.state("app1").wanted
    assert world.state("app1").online_since is None


def test_the_shutdown_timeout_of_the_layer_counts(world):
    stop(world, "app1")
    assert world.engine.jobs[0].timeouts.run == 120


@pytest.mark.parametrize("ending", ["fail", "overrun", "unreachable"])
def test_shutdown_recipes_never_keep_a_machine_alive(world, ending):
    getattr(world.engine, ending)("app1", "base.shutdown")
    outcome = stop(world, "app1")
    assert world.statuses()["app1"] == "stopped"
    assert outcome.exit_code is (ExitCode.UNREACHABLE if ending == "unreachable" else ExitCode.FAILED)


def test_a_shutdown_timeout_of_zero_skips_the_recipes():
    layers = {"app": {"recipes": ["base"], "shutdown": {"timeout": 0}, "instances": {"app1": {}}}}
    world = ControllerWorld(shop(layers=layers, apps={}))
    world.up()
    outcome = stop(world, "app1")
    assert [c.status.value for c in outcome.commands] == ["skipped"]
    assert world.statuses() == {"app1": "stopped"}


def test_a_stop_that_the_provider_refuses_is_stop_failed_and_up_finishes_it(world):
    world.compute.fail("stop", "app1", message="busy")
    outcome = stop(world, "app1")
    assert outcome.exit_code is ExitCode.FAILED
    assert world.statuses()["app1"] == "stop_failed"
    assert "busy" in world.state("app1").reason
    assert world.up().exit_code is ExitCode.OK
    assert world.online() == EVERYONE


def test_a_start_brings_the_same_machine_back(world):
    stop(world, "app1")
    machine = world.state("app1").machine.id
    world.forget()
    outcome = world.do(lambda c: c.start(Targets(only=("app1",))))
    assert outcome.exit_code is ExitCode.OK
    assert world.state("app1").machine.id == machine
    assert world.state("app1").wanted
    assert world.ran(outcome, "setup") == world.ran(outcome, "deploy") == ["app1"]
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert ("create", "app1") not in world.compute.calls


def test_a_machine_that_moved_is_known_at_its_new_address(world):
    world.compute.moves = True
    before = world.state("app1").machine.address
    stop(world, "app1")
    world.do(lambda c: c.start(Targets(only=("app1",))))
    assert world.state("app1").machine.address != before


def test_only_some_statuses_can_be_started(world):
    with pytest.raises(UsageError, match='app1 cannot be started in status "online"'):
        world.do(lambda c: c.start(Targets(only=("app1",))))


def test_start_without_targets_means_the_instances_that_run_24_7():
    world = ControllerWorld(shop(instances={"burst1": {"layers": ["app"], "runs": "load"}}))
    world.do(lambda c: c.start())
    assert world.online() == EVERYONE
    world.do(lambda c: c.start(Targets(only=("burst1",))))
    assert world.online() == EVERYONE | {"burst1"}
    assert world.plan().empty


def test_stop_without_targets_stops_everything(world):
    outcome = world.do(lambda c: c.stop())
    assert set(world.statuses().values()) == {"stopped"}
    assert world.ran(outcome, "configure") == []
    assert world.up().exit_code is ExitCode.OK


def test_a_reboot_fires_no_event(world):
    outcome = world.do(lambda c: c.reboot(Targets(only=("app1",))))
    assert outcome.exit_code is ExitCode.OK
    assert outcome.commands == ()
    assert world.listener.statuses("app1") == ["rebooting", "online"]
    assert world.plan().empty


def test_a_machine_that_does_not_come_back_from_a_reboot_has_lost_its_connection(world):
    world.engine.never_ready(times=1)
    outcome = world.do(lambda c: c.reboot(Targets(only=("app1",))))
    assert outcome.exit_code is ExitCode.UNREACHABLE
    assert world.statuses()["app1"] == "connection_lost"
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE - {"app1"})
    outcome = world.up()
    assert world.online() == EVERYONE
    # It was set up before, and is what it was.
    assert (world.ran(outcome, "setup"), world.ran(outcome, "deploy")) == ([], [])
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert world.plan().empty


def test_a_lost_instance_whose_recipes_changed_meanwhile_is_set_up_again(world):
    world.engine.never_ready(times=1)
    world.do(lambda c: c.reboot(Targets(only=("app1",))))
    world.catalog.versions["python_app"] = 2
    outcome = world.up()
    assert sorted(world.ran(outcome, "setup")) == ["app1", "app2"]
    assert world.plan().empty


def test_destroy_leaves_nothing(world):
    outcome = world.do(lambda c: c.destroy())
    assert outcome.exit_code is ExitCode.OK
    assert world.compute.machines == []
    assert world.statuses() == {}
    assert sorted(world.ran(outcome, "shutdown")) == sorted(EVERYONE)
    assert world.ran(outcome, "configure") == []
    with world.controller() as controller:
        assert controller.plan_destroy().empty


def test_an_unreachable_host_does_not_keep_destroy_from_ending(world):
    world.engine.unreachable("app1")
    world.do(lambda c: c.destroy())
    assert world.compute.machines == []
    assert world.statuses() == {}


def test_a_machine_that_cannot_be_ended_is_reported_and_ended_later(world):
    world.compute.fail("terminate", "app1", message="denied")
    outcome = world.do(lambda c: c.destroy())
    assert outcome.exit_code is ExitCode.FAILED
    assert world.statuses() == {"app1": "stop_failed"}
    world.do(lambda c: c.destroy())
    assert world.statuses() == {}
    assert world.compute.machines == []


def backends(job):
    return {member.name for member in job.node.members if member.online}


def test_one_that_reboots_is_no_loss_for_the_others_and_configures_when_it_is_back(world):
    others_are_configured, reboot = threading.Event(), world.compute.reboot

    def rebooted(machine):
        if machine.instance == "app1":
            assert others_are_configured.wait(10)
        elif machine.instance == "app2":
            raise ProviderError("no power")
        return reboot(machine)

    def heard(entry):
        if entry.kind == "command.successful" and entry.instance == "lb1":
            others_are_configured.set()

    world.compute.reboot, world.listener.on_entry, world.debounce = rebooted, heard, 0.0
    outcome = world.do(lambda c: c.reboot(Targets(only=("app*",))))
    assert world.statuses()["app2"] == "connection_lost"
    lb1 = next(job for job in world.engine.jobs if job.node.name == "lb1")
    assert backends(lb1) == EVERYONE - {"app2"}
    # app1 hears of app2 too, after its reboot.
    assert sorted(world.ran(outcome, "configure")) == ["app1", "lb1", "store1"]
    assert world.engine.jobs[-1].node.name == "app1"


def test_a_reboot_that_was_interrupted_takes_nobody_out_of_the_load_balancer(world):
    stop_it = threading.Event()
    reboot = world.compute.reboot
    world.compute.reboot = lambda machine: (stop_it.set(), reboot(machine))[1]
    world.do(lambda c: c.reboot(Targets(only=("app1",)), stop_it))
    assert world.statuses()["app1"] == "rebooting"
    world.forget()
    stop(world, "app2")
    assert [backends(job) for job in world.engine.jobs if job.node.event.type == "configure"] == 2 * [
        EVERYONE - {"app2"}
    ]
    world.up()
    assert world.online() == EVERYONE
    assert world.plan().empty


def test_a_reboot_that_is_finished_later_fires_no_event(world):
    stop_it = threading.Event()
    reboot = world.compute.reboot
    world.compute.reboot = lambda machine: (stop_it.set(), reboot(machine))[1]
    world.do(lambda c: c.reboot(Targets(only=("app1",)), stop_it))
    assert [(step.kind.value, step.instance) for step in world.plan().steps] == [("reconnect", "app1")]
    outcome = world.up()
    assert (outcome.commands, world.statuses()["app1"]) == ((), "online")
    assert world.plan().empty
