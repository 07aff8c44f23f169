import threading

import pytest
from controller_world import EVERYONE, ControllerWorld, shop

from opsflow.controller import RunOptions, Targets
from opsflow.controller.ledger import News
from opsflow.errors import ExitCode, RecipeError, UsageError
from opsflow.model.command import RunStatus
from opsflow.model.events import LifecycleEvent as E
from opsflow.ports import Mode


@pytest.fixture
def world():
    world = ControllerWorld()
    world.up()
    world.forget()
    return world


def many(count=6):
    return shop(
        layers={"app": {"recipes": ["base"], "instances": {f"app{n}": {} for n in range(1, count + 1)}}}, apps={}
    )


@pytest.fixture
def fleet():
    world = ControllerWorld(many())
    world.parallel = 1
    world.up()
    world.forget()
    return world


def test_configure_reaches_every_online_instance(world):
    outcome = world.do(lambda c: c.run_event(E.CONFIGURE))
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert len(outcome.commands) == 4
    assert outcome.run.action == "configure"


def test_targets_narrow_it(world):
    outcome = world.do(lambda c: c.run_event(E.CONFIGURE, Targets(layers=("app",), exclude=("app2",))))
    assert world.ran(outcome, "configure") == ["app1"]


def test_a_named_offline_instance_is_refused_and_a_layers_one_skipped(world):
    world.do(lambda c: c.stop(Targets(only=("app2",))))
    with pytest.raises(UsageError, match='app2 cannot be configured in status "stopped"'):
        world.do(lambda c: c.run_event(E.CONFIGURE, Targets(only=("app2",))))
    outcome = world.do(lambda c: c.run_event(E.CONFIGURE, Targets(layers=("app",))))
    assert world.ran(outcome, "configure") == ["app1"]


def test_setup_takes_out_of_service_deploys_and_configures_everyone(world):
    outcome = world.do(lambda c: c.run_event(E.SETUP, Targets(only=("app1",))))
    assert world.ran(outcome, "setup") == world.ran(outcome, "deploy") == ["app1"]
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert world.listener.statuses("app1") == ["running_setup", "online"]


def test_setup_repairs_an_instance_whose_setup_failed(world):
    world.engine.fail("app1", "base.setup", times=1)
    world.do(lambda c: c.run_event(E.SETUP, Targets(only=("app1",))))
    assert world.statuses()["app1"] == "setup_failed"
    world.do(lambda c: c.run_event(E.SETUP, Targets(only=("app1",))))
    assert world.online() == EVERYONE


def test_shutdown_by_hand_runs_the_recipes_only(world):
    outcome = world.do(lambda c: c.run_event(E.SHUTDOWN, Targets(only=("app1",))))
    assert world.ran(outcome, "shutdown") == ["app1"]
    assert world.online() == EVERYONE
    assert world.engine.jobs[0].timeouts.run == 120


def test_recipes_run_in_the_given_order_with_overrides(world):
    options = RunOptions(attributes={"x": {"y": 1}}, timeout=7)
    outcome = world.do(lambda c: c.run_recipes(["base.report", "haproxy.setup"], Targets(only=("lb1",)), options))
    (job,) = world.engine.jobs
    assert job.recipes == ("base.report", "haproxy.setup")
    assert job.node.attributes == {"x": {"y": 1}}
    assert job.timeouts.run == 7
    assert outcome.commands[0].attributes == {"x": {"y": 1}}
    assert world.store.run(outcome.run.id).request["options"] == {"attributes": {"x": {"y": 1}}, "timeout": 7}


def test_recipes_see_the_bundle_of_what_is_deployed(world):
    world.sources.head = "b"
    world.do(lambda c: c.run_recipes(["base.report"], Targets(only=("app1",))))
    (app,) = world.engine.jobs[0].node.apps
    assert (app.release, app.bundle, app.deploy) == ("a" * 12, "/cache/storefront-aaaaaaaaaaaa.tar.gz", False)


def test_recipes_also_run_when_a_source_cannot_be_fetched(world):
    world.sources.broken = "git: no route to host"
    outcome = world.do(lambda c: c.run_recipes(["base.report"]))
    assert outcome.exit_code is ExitCode.OK
    assert "app.unavailable" in world.listener.kinds("app1")
    (app,) = next(job.node.apps for job in world.engine.jobs if job.node.name == "app1")
    assert (app.release, app.bundle) == ("a" * 12, None)


def test_an_unknown_recipe_is_refused(world):
    with pytest.raises(UsageError, match=r"base\.repotr"):
        world.do(lambda c: c.run_recipes(["base.repotr"]))


def test_overrides_of_a_setup_do_not_count_as_the_declared_setup(world):
    world.do(lambda c: c.run_event(E.SETUP, Targets(only=("lb1",)), RunOptions(attributes={"x": 1})))
    assert [(s.kind.value, s.instance) for s in world.plan().steps][0] == ("setup", "lb1")


def test_a_recipe_that_cannot_be_used_runs_nowhere(world):
    world.engine.refuse("base.report")
    with pytest.raises(RecipeError):
        world.do(lambda c: c.run_recipes(["base.report"]))
    assert world.engine.jobs == []


def test_one_failing_host_does_not_keep_the_others(world):
    world.engine.fail("app1", "base.report")
    outcome = world.do(lambda c: c.run_recipes(["base.report"]))
    assert outcome.exit_code is ExitCode.FAILED
    assert sorted(world.ran(outcome, "execute_recipes")) == ["app2", "lb1", "store1"]
    assert outcome.run.detail == "failed on app1"
    assert world.online() == EVERYONE


def test_a_run_that_overruns_is_expired(world):
    world.engine.overrun("app1")
    outcome = world.do(lambda c: c.run_recipes(["base.report"], Targets(only=("app1",))))
    assert outcome.commands[0].status == "expired"
    assert outcome.run.status is RunStatus.FAILED


def test_only_unreachable_hosts_exit_with_69(world):
    world.engine.unreachable("app1")
    outcome = world.do(lambda c: c.run_recipes(["base.report"]))
    assert outcome.exit_code is ExitCode.UNREACHABLE


def test_check_mode_changes_nothing(world):
    before = world.store.state("shop").instances
    world.catalog.versions["base"] = 2
    for event in (E.SETUP, E.CONFIGURE, E.DEPLOY, E.UNDEPLOY):
        outcome = world.do(lambda c, event=event: c.run_event(event, options=RunOptions(mode=Mode.CHECK, diff=True)))
        assert outcome.run.status is RunStatus.SUCCESSFUL
    assert world.store.state("shop").instances == before
    assert {job.mode for job in world.engine.jobs} == {Mode.CHECK}
    assert all(job.diff for job in world.engine.jobs)
    assert not world.plan().empty


def test_batches_go_one_after_the_other(fleet):
    fleet.parallel = 8
    outcome = fleet.do(lambda c: c.run_event(E.CONFIGURE, options=RunOptions(serial=2)))
    order = [name for name, _ in fleet.engine.ran]
    assert [set(order[n : n + 2]) for n in (0, 2, 4)] == [{"app1", "app2"}, {"app3", "app4"}, {"app5", "app6"}]
    assert outcome.exit_code is ExitCode.OK


def test_setup_in_batches_configures_after_each(fleet):
    outcome = fleet.do(lambda c: c.run_event(E.SETUP, options=RunOptions(serial="50%")))
    kinds = [c.type.value for c in sorted(outcome.commands, key=lambda c: c.completed_at) if c.status == "successful"]
    assert kinds.count("setup") == 6
    setups = [job.node.event.type for job in fleet.engine.jobs]
    assert setups[:3] == ["setup"] * 3
    assert setups[-6:] == ["configure"] * 6


def test_too_many_failures_stop_the_rollout(fleet):
    fleet.engine.fail("app[123]")
    options = RunOptions(fail_percent=30)
    outcome = fleet.do(lambda c: c.run_event(E.CONFIGURE, options=options))
    statuses = {c.instance: c.status.value for c in outcome.commands}
    assert statuses == {"app1": "failed", "app2": "failed"} | dict.fromkeys(
        ("app3", "app4", "app5", "app6"), "cancelled"
    )
    assert "2 of 6 failed, more than 30 %" in outcome.commands[-1].detail
    assert outcome.exit_code is ExitCode.FAILED


def test_the_fail_limit_is_exceeded_not_equalled(fleet):
    fleet.engine.fail("app[123]")
    outcome = fleet.do(lambda c: c.run_event(E.CONFIGURE, options=RunOptions(fail_percent=50)))
    assert [c.status.value for c in outcome.commands].count("cancelled") == 0


def test_a_batch_of_which_nobody_came_through_ends_the_rollout(fleet):
    fleet.engine.fail("app[12]")
    outcome = fleet.do(lambda c: c.run_event(E.CONFIGURE, options=RunOptions(serial=2)))
    assert [c.status.value for c in outcome.commands] == ["failed"] * 2 + ["cancelled"] * 4
    assert "everything failed on app1, app2" in outcome.commands[-1].detail


@pytest.mark.parametrize("options", [RunOptions(serial="x"), RunOptions(fail_percent=101)])
def test_options_that_make_no_sense_are_refused(world, options):
    with pytest.raises(UsageError):
        world.do(lambda c: c.run_event(E.CONFIGURE, options=options))
    assert world.engine.jobs == []


def test_every_request_is_a_run_with_its_commands_and_snapshots(world):
    outcome = world.do(lambda c: c.run_event(E.CONFIGURE, options=RunOptions(comment="because")))
    run = world.store.run(outcome.run.id)
    assert (run.status, run.comment, run.actor) == (RunStatus.SUCCESSFUL, "because", "tester")
    stored = world.store.commands(run=run.id)
    assert stored == outcome.commands
    for command in stored:
        assert world.store.result(command.id).ok
        assert world.store.node_snapshot(command.id).name == command.instance


def test_a_plan_of_an_event(world):
    with world.controller() as controller:
        plan = controller.plan_event(E.SETUP, Targets(only=("app1",)))
        assert [step.kind.value for step in plan.steps if step.instance == "app1"] == ["setup", "deploy", "configure"]
        assert len(controller.plan_recipes(["base.report"]).steps) == 4


class TestRetry:
    def test_only_what_failed_again(self, world):
        world.engine.fail("app*", "base.report", times=2)
        failed = world.do(lambda c: c.run_recipes(["base.report"], options=RunOptions(attributes={"x": 1})))
        world.forget()
        outcome = world.do(lambda c: c.retry(failed.run.id, True))
        assert sorted(world.ran(outcome, "execute_recipes")) == ["app1", "app2"]
        assert world.engine.jobs[0].node.attributes == {"x": 1}

    def test_everything_again(self, world):
        first = world.do(lambda c: c.run_event(E.CONFIGURE, Targets(layers=("app",))))
        outcome = world.do(lambda c: c.retry(first.run.id, False, RunOptions(serial=1)))
        assert sorted(world.ran(outcome, "configure")) == ["app1", "app2"]
        assert outcome.run.request["options"] == {"serial": 1}

    def test_nothing_failed(self, world):
        first = world.do(lambda c: c.run_event(E.CONFIGURE))
        with pytest.raises(UsageError, match="failed"):
            world.do(lambda c: c.retry(first.run.id, True))

    def test_no_such_run(self, world):
        with pytest.raises(UsageError, match="has no run 99"):
            world.do(lambda c: c.retry("99"))

    def test_an_up_is_planned_anew(self, world):
        world.change(shop(instances={"app3": {"layers": ["app"]}}))
        world.engine.fail("app3", "base.setup", times=1)
        failed = world.up()
        outcome = world.do(lambda c: c.retry(failed.run.id, True))
        assert world.ran(outcome, "setup") == ["app3"]
        assert world.plan().empty

    def test_a_start_whose_machine_failed(self, world):
        world.do(lambda c: c.stop(Targets(layers=("app",))))
        world.compute.fail("start", "app1", times=1)
        failed = world.do(lambda c: c.start())
        world.forget()
        outcome = world.do(lambda c: c.retry(failed.run.id, True))
        assert world.ran(outcome, "setup") == ["app1"]
        assert world.online() == EVERYONE

    def test_a_start_whose_setup_failed(self, world):
        world.do(lambda c: c.stop(Targets(layers=("app",))))
        world.engine.fail("app2", "base.setup", times=1)
        failed = world.do(lambda c: c.start(Targets(layers=("app",))))
        outcome = world.do(lambda c: c.retry(failed.run.id, True))
        assert world.ran(outcome, "setup") == ["app2"]
        assert world.online() == EVERYONE

    def test_a_stop_that_was_broken_off(self, world):
        world.engine.hang("app1", "base.shutdown", times=1)
        cancel = threading.Event()
        world.listener.on_entry = lambda entry: cancel.set() if entry.kind == "command.started" else None
        failed = world.do(lambda c: c.stop(Targets(only=("app1",)), cancel))
        world.listener.on_entry = lambda entry: None
        world.engine.heal()
        assert world.statuses()["app1"] == "shutting_down"
        world.do(lambda c: c.retry(failed.run.id, True))
        assert world.statuses()["app1"] == "stopped"

    def test_a_reboot_that_lost_its_machine(self, world):
        world.engine.never_ready(times=1)
        failed = world.do(lambda c: c.reboot(Targets(only=("app1",))))
        outcome = world.do(lambda c: c.retry(failed.run.id, True))
        assert outcome.exit_code is ExitCode.OK
        assert world.online() == EVERYONE


def test_the_end_of_a_command_is_written_also_when_its_instance_is_forgotten_meanwhile(world):
    with world.controller() as controller:
        records = controller._firing._office.records

        def forget(entry):
            if entry.kind == "command.started":
                records.remove(records.get("app1"), News("instance.terminated", "app1 is forgotten", instance="app1"))

        world.listener.on_entry = forget
        outcome = controller.run_event(E.CONFIGURE, Targets(only=("app1",)))
    (command,) = world.store.commands(run=outcome.run.id)
    assert command.status == outcome.commands[0].status == "successful"
    assert world.store.result(command.id).ok
    assert "command.successful" in world.listener.kinds("app1")


def test_a_configure_that_fails_is_repeated_although_its_inputs_went_back(world):
    world.change(shop(instances={"app3": {"layers": ["app"]}}))
    world.engine.fail("lb1", "haproxy.configure", times=1)
    world.up()
    assert "configure" not in world.state("lb1").applied
    world.engine.fail("lb1", "haproxy.configure", times=1)
    world.change(shop())
    assert world.up().exit_code is ExitCode.FAILED
    # The stack is what it was at the beginning, lb1's last configure is not.
    assert [(step.kind.value, step.instance) for step in world.plan().steps] == [("configure", "lb1")]
    world.up()
    assert world.plan().empty


def test_a_configure_that_only_looks_leaves_the_record(world):
    world.do(lambda c: c.run_event(E.CONFIGURE, options=RunOptions(mode=Mode.CHECK)))
    assert world.plan().empty
