import pytest
from controller_world import EVERYONE, ControllerWorld, shop

from opsflow.errors import ConfigError, ExitCode, StalePlan
from opsflow.model.command import RunStatus
from opsflow.model.events import LifecycleEvent
from opsflow.model.machine import MachineState


@pytest.fixture
def world():
    return ControllerWorld()


@pytest.fixture
def running(world):
    assert world.up().exit_code is ExitCode.OK
    world.forget()
    return world


def more_apps(*names, **changes):
    return shop(instances={name: {"layers": ["app"]} for name in names}, **changes)


def test_up_sets_everything_up_and_configures_everyone(world):
    outcome = world.up()
    assert outcome.run.status is RunStatus.SUCCESSFUL
    assert world.online() == EVERYONE
    assert sorted(world.ran(outcome, "setup")) == sorted(EVERYONE)
    assert sorted(world.ran(outcome, "deploy")) == ["app1", "app2"]
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert world.listener.statuses("app1") == ["requested", "pending", "booting", "running_setup", "online"]


def test_recipes_run_in_order_and_deploy_follows_setup(world):
    world.up()
    app1 = [recipe for name, recipe in world.engine.ran if name == "app1"]
    assert app1 == ["base.setup", "python_app.setup", "release.deploy", "base.configure", "python_app.configure"]


def test_configure_sees_everyone_who_is_online(world):
    world.up()
    configure = next(job for job in world.engine.jobs if job.recipes[0] == "base.configure" and job.node.name == "lb1")
    assert {member.name for member in configure.node.members if member.status == "online"} == EVERYONE
    assert all(member.address for member in configure.node.members)
    assert configure.node.event.type == "configure"
    assert "came online" in configure.node.event.reason
    assert configure.epoch == 1


def test_setup_sees_the_bundle_and_only_deploy_deploys_it(world):
    world.up()
    jobs = {job.node.event.type: job.node.apps[0] for job in world.engine.jobs if job.node.name == "app1"}
    assert jobs["setup"].bundle == jobs["deploy"].bundle == "/cache/storefront-aaaaaaaaaaaa.tar.gz"
    assert not jobs["setup"].deploy
    assert jobs["deploy"].deploy
    assert jobs["deploy"].release == "a" * 12
    assert jobs["configure"].bundle is None
    assert jobs["configure"].release == "a" * 12


def test_the_source_is_fetched_once_per_run(world):
    world.up()
    assert world.sources.fetched == [("storefront", None)]


def test_the_second_up_has_nothing_to_do(running):
    assert running.plan().empty


def test_only_an_added_instance_is_set_up_and_everyone_configures(running):
    running.change(more_apps("app3"))
    outcome = running.up()
    assert running.ran(outcome, "setup") == ["app3"]
    assert running.ran(outcome, "deploy") == ["app3"]
    assert sorted(running.ran(outcome, "configure")) == sorted(EVERYONE | {"app3"})
    assert running.plan().empty


def test_a_removed_instance_is_shut_down_and_gone_and_the_others_configure(running):
    running.change(more_apps("app3"))
    running.up()
    running.forget()
    running.change(shop())
    outcome = running.up()
    assert running.ran(outcome, "shutdown") == ["app3"]
    assert running.listener.statuses("app3") == ["stopping", "shutting_down", "terminating", "terminated"]
    assert sorted(running.ran(outcome, "configure")) == sorted(EVERYONE)
    assert running.online() == EVERYONE
    assert len(running.compute.machines) == 4
    assert "app3" not in running.statuses()


def test_a_failed_setup_leaves_the_machine_and_the_others_go_on(world):
    world.engine.fail("app1", "python_app.setup", error="no python here")
    outcome = world.up()
    assert outcome.exit_code is ExitCode.FAILED
    assert world.statuses()["app1"] == "setup_failed"
    assert "no python here" in world.state("app1").reason
    assert world.online() == EVERYONE - {"app1"}
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE - {"app1"})
    assert len(world.compute.machines) == 4
    assert outcome.run.detail == "failed on app1"


def test_a_failed_setup_is_repeated_by_the_next_up(world):
    world.engine.fail("app1", "python_app.setup", times=1)
    world.up()
    world.forget()
    outcome = world.up()
    assert world.ran(outcome, "setup") == ["app1"]
    assert ("create", "app1") not in world.compute.calls
    assert world.online() == EVERYONE
    assert world.plan().empty


def test_a_failed_deploy_in_setup_is_a_failed_setup(world):
    world.engine.fail("app2", "release.deploy")
    assert world.up().exit_code is ExitCode.FAILED
    assert world.statuses()["app2"] == "setup_failed"
    assert world.state("app2").apps == {}


def test_a_source_that_cannot_be_fetched_fails_the_setup_with_its_reason(world):
    world.sources.broken = "git: no such repository"
    outcome = world.up()
    assert world.statuses()["app1"] == "setup_failed"
    assert world.online() == {"lb1", "store1"}
    assert {c.detail for c in outcome.commands if c.status == "failed"} == {"git: no such repository"}


def test_a_failed_configure_leaves_the_instance_online_and_is_repeated(running):
    running.change(more_apps("app3"))
    running.engine.fail("lb1", "haproxy.configure", times=1)
    outcome = running.up()
    assert outcome.exit_code is ExitCode.FAILED
    assert running.online() == EVERYONE | {"app3"}
    again = running.plan()
    assert [(step.kind.value, step.instance) for step in again.steps] == [("configure", "lb1")]
    assert running.up().exit_code is ExitCode.OK
    assert running.plan().empty


def test_a_machine_that_is_refused_is_start_failed(world):
    world.compute.fail("create", "app1", times=1, message="no capacity")
    outcome = world.up()
    assert outcome.exit_code is ExitCode.FAILED
    assert world.statuses()["app1"] == "start_failed"
    assert "no capacity" in outcome.failures["app1"]
    assert world.up().exit_code is ExitCode.OK
    assert len(world.compute.machines) == 4


def test_a_machine_whose_answer_was_lost_is_not_made_twice(world):
    world.compute.fail("create", "app1", times=1, done=True)
    world.up()
    assert world.up().exit_code is ExitCode.OK
    assert len(world.compute.machines) == 4


def test_a_machine_that_never_answers_is_unreachable(world):
    world.compute.never_boots.add("store1")
    world.engine.never_ready("198.18.*", times=0)
    outcome = world.up()
    assert world.statuses()["store1"] == "start_failed"
    assert outcome.exit_code is ExitCode.FAILED
    world.compute.heal()
    world.engine.never_ready("*", times=1)
    outcome = world.up()
    assert outcome.exit_code is ExitCode.UNREACHABLE
    assert "does not answer" in outcome.failures["store1"]


def test_an_unreachable_host_alone_exits_with_69(running):
    running.engine.unreachable("app1", "base.configure")
    running.change(more_apps("app3"))
    outcome = running.up()
    assert outcome.exit_code is ExitCode.UNREACHABLE
    command = next(c for c in outcome.commands if c.instance == "app1")
    assert (command.status, command.exit_code) == ("failed", 69)


def test_the_token_is_committed_before_the_provider_is_asked(world):
    asked = []
    create = world.compute.create

    def watched(request):
        asked.append((request.token, world.state(request.instance).token, world.statuses()[request.instance]))
        return create(request)

    world.compute.create = watched
    world.up()
    assert len(asked) == 4
    assert all(token == known and status == "requested" for token, known, status in asked)


def test_a_machine_that_ended_by_itself_is_started_again(running):
    running.compute.halt("app1")
    with running.controller() as controller:
        controller.recover()
    assert running.statuses()["app1"] == "stopped"
    assert "without opsflow" in running.state("app1").reason
    outcome = running.up()
    assert running.ran(outcome, "setup") == ["app1"]
    assert sorted(running.ran(outcome, "configure")) == sorted(EVERYONE)
    assert len(running.compute.machines) == 4


def test_a_machine_that_is_gone_is_replaced_under_another_token(running):
    before = running.state("app1").token
    running.compute.vanish("app1")
    outcome = running.up()
    assert outcome.exit_code is ExitCode.OK
    assert running.state("app1").token != before
    assert running.state("app1").generation == 2
    assert running.online() == EVERYONE


def test_a_destroyed_instance_that_comes_back_gets_a_new_token(running):
    before = running.state("app1").token
    running.do(lambda c: c.destroy())
    assert running.compute.machines == []
    running.up()
    assert running.state("app1").generation == 2
    assert running.state("app1").token != before


def test_changed_recipes_mean_setup_in_place_out_of_service(running):
    running.catalog.versions["python_app"] = 2
    statuses = []
    running.listener.on_entry = lambda entry: statuses.append(running.statuses()["app1"])
    outcome = running.up()
    assert sorted(running.ran(outcome, "setup")) == ["app1", "app2"]
    assert "running_setup" in statuses
    assert running.state("app1").machine.state is MachineState.RUNNING
    assert running.online() == EVERYONE
    assert running.plan().empty


def test_changed_configure_recipes_mean_configure_only(running):
    running.catalog.versions["haproxy"] = 2
    running.catalog.functions["haproxy"] = ("configure",)
    running.do(lambda c: c.run_event(LifecycleEvent.SETUP))
    running.catalog.versions["haproxy"] = 3
    outcome = running.up()
    assert [(c.instance, c.type) for c in outcome.commands] == [("lb1", "configure")]
    assert running.plan().empty


def test_a_new_app_is_deployed_and_a_removed_one_undeployed(running):
    running.change(shop(apps={"other": {"layers": ["app"], "source": {"git": "./other"}}}))
    outcome = running.up()
    assert sorted(running.ran(outcome, "undeploy")) == sorted(running.ran(outcome, "deploy")) == ["app1", "app2"]
    assert set(running.state("app1").apps) == {"other"}
    undeploy = next(job for job in running.engine.jobs if job.node.event.type == "undeploy")
    assert [(app.name, app.deploy, app.deploy_to) for app in undeploy.node.apps if app.deploy] == [
        ("storefront", True, "/srv/www/storefront")
    ]
    assert running.plan().empty


def test_a_saved_plan_is_refused_when_anything_changed(running):
    running.change(more_apps("app3"))
    plan = running.plan()
    running.catalog.versions["base"] = 9
    with running.controller() as controller, pytest.raises(StalePlan, match="the recipes changed"):
        controller.apply(plan)
    running.catalog.versions["base"] = 1
    running.file_digest = "else"
    with running.controller() as controller, pytest.raises(StalePlan, match="the stack file"):
        controller.apply(plan)
    running.change(more_apps("app3"))
    running.do(lambda c: c.run_event(LifecycleEvent.CONFIGURE))
    with running.controller() as controller, pytest.raises(StalePlan, match="the state of the stack"):
        controller.apply(plan)
    assert running.online() == EVERYONE


def test_a_plan_survives_json_and_can_be_applied(world):
    plan = world.plan()
    again = type(plan).model_validate_json(plan.model_dump_json())
    with world.controller() as controller:
        assert controller.apply(again).exit_code is ExitCode.OK


def test_a_recipe_that_cannot_be_used_stops_everything_before_it_begins(world):
    world.engine.refuse("python_app.setup", "uses _retries")
    with pytest.raises(ConfigError, match="uses _retries"):
        world.up()
    assert world.compute.machines == []
    assert world.store.runs() == ()


def test_a_recipe_that_does_not_exist_is_named_with_its_layer(world):
    world.catalog.functions.pop("haproxy")
    with pytest.raises(ConfigError, match="layers/lb/recipes/modules: there is no recipe module 'haproxy'"):
        world.up()


def test_time_instances_start_and_stop_by_the_clock():
    world = ControllerWorld(shop(instances={"office": {"layers": ["app"], "runs": "time", "hours": {"daily": "8-20"}}}))
    world.clock.advance(9 * 3600)
    world.up()
    assert world.statuses()["office"] == "online"
    world.clock.advance(12 * 3600)
    outcome = world.up()
    assert world.statuses()["office"] == "stopped"
    assert sorted(world.ran(outcome, "configure")) == sorted(EVERYONE)
    assert len(world.compute.machines) == 5


def test_an_instance_without_recipes_comes_online_without_the_engine():
    stack = shop(layers={"empty": {"instances": {"one": {}}}}, apps={})
    world = ControllerWorld(stack)
    outcome = world.up()
    assert world.online() == {"one"}
    assert world.engine.jobs == []
    assert {c.detail for c in outcome.commands} == {"no recipes are bound"}
    assert "command.successful" in world.listener.kinds("one")
    assert world.plan().empty
