import json

import pytest
from controller_world import ControllerWorld, shop

from opsflow.controller import RunOptions, Targets
from opsflow.errors import ExitCode, SourceError, UsageError
from opsflow.model.events import LifecycleEvent
from opsflow.ports import Mode

A, B, C = ("a" * 12, "b" * 12, "c" * 12)


@pytest.fixture
def world():
    world = ControllerWorld()
    world.up()
    world.forget()
    return world


def deploy(world, revision=None, **targets):
    return world.do(lambda c: c.deploy("storefront", revision, Targets(**targets)))


def app(world, name="app1"):
    return world.state(name).apps["storefront"]


def test_a_deploy_reaches_the_instances_of_the_apps_layers(world):
    world.sources.head = "b"
    outcome = deploy(world)
    assert outcome.run.action == "deploy"
    assert sorted(world.ran(outcome, "deploy")) == ["app1", "app2"]
    assert world.sources.fetched == [("storefront", None)]
    assert app(world).release == B
    assert app(world).previous == (A,)
    assert not app(world).pinned
    (snapshot,) = world.engine.jobs[0].node.apps
    assert (snapshot.deploy, snapshot.release, snapshot.bundle) == (True, B, f"/cache/storefront-{B}.tar.gz")


def test_the_same_revision_again_keeps_the_history(world):
    deploy(world)
    assert (app(world).release, app(world).previous) == (A, ())


def test_only_so_many_releases_are_kept(world):
    for letter in "bcdefg":
        world.sources.head = letter
        deploy(world)
    assert [name[0] for name in (app(world).release, *app(world).previous)] == ["g", "f", "e", "d", "c"]


def test_an_instance_outside_of_the_apps_layers_is_refused_by_name(world):
    with pytest.raises(UsageError, match="lb1 is in no layer of storefront"):
        deploy(world, only=("lb1",))
    with pytest.raises(UsageError, match="there is no app 'shopfront'"):
        world.do(lambda c: c.deploy("shopfront"))


def test_a_source_that_cannot_be_fetched_runs_nowhere(world):
    world.sources.broken = "checksum differs"
    with pytest.raises(SourceError, match="checksum differs"):
        deploy(world)
    assert world.engine.jobs == []
    assert len(world.store.runs()) == 1


def test_a_failed_deploy_leaves_the_record_as_it_was(world):
    world.sources.head = "b"
    world.engine.fail("app1", "release.deploy")
    outcome = deploy(world)
    assert outcome.exit_code is ExitCode.FAILED
    assert (app(world, "app1").release, app(world, "app2").release) == (A, B)
    assert world.statuses()["app1"] == "online"


def test_a_rollback_after_a_failed_deploy_goes_to_the_last_release_that_succeeded(world):
    for letter in "bc":
        world.sources.head = letter
        if letter == "c":
            # It may have switched to the release before it failed.
            world.engine.fail("app1", "release.deploy", times=1)
        deploy(world)
    assert (app(world).release, app(world).attempted) == (B, C)
    world.forget()
    outcome = world.do(lambda c: c.rollback("storefront", Targets(only=("app1",))))
    assert outcome.exit_code is ExitCode.OK
    (snapshot,) = world.engine.jobs[0].node.apps
    assert (snapshot.rollback_to, snapshot.release, snapshot.revision) == (B, B, "b" * 40)
    assert (app(world).release, app(world).previous, app(world).attempted) == (B, (A,), "")
    world.do(lambda c: c.rollback("storefront", Targets(only=("app1",))))
    assert (app(world).release, app(world).previous) == (A, ())


def test_the_first_failed_deploy_can_be_rolled_back_too(world):
    world.sources.head = "b"
    world.engine.fail("app1", "release.deploy", times=1)
    deploy(world)
    world.do(lambda c: c.rollback("storefront", Targets(only=("app1",))))
    assert (app(world).release, app(world).attempted, world.engine.jobs[-1].node.apps[0].rollback_to) == (A, "", A)


def test_a_deploy_that_succeeds_ends_the_attempt_before_it(world):
    world.sources.head = "b"
    world.engine.fail("app1", "release.deploy", times=1)
    deploy(world)
    deploy(world)
    assert (app(world).release, app(world).previous, app(world).attempted) == (B, (A,), "")


def test_a_failed_deploy_of_the_release_that_is_there_is_rolled_back_to_the_one_before(world):
    world.sources.head = "b"
    deploy(world)
    world.engine.fail("app1", "release.deploy", times=1)
    deploy(world)
    assert (app(world).release, app(world).attempted, app(world).rollback_to) == (B, "", A)


def test_checking_a_deploy_is_no_attempt(world):
    world.sources.head = "b"
    world.do(lambda c: c.deploy("storefront", options=RunOptions(mode=Mode.CHECK)))
    assert app(world).attempted == ""


def test_a_rollback_goes_back_release_by_release_and_no_further(world):
    for letter in "bc":
        world.sources.head = letter
        deploy(world)
    world.forget()
    for expected, left in ((B, (A,)), (A, ())):
        outcome = world.do(lambda c: c.rollback("storefront"))
        assert outcome.exit_code is ExitCode.OK
        assert (app(world).release, app(world).previous) == (expected, left)
    (snapshot,) = world.engine.jobs[0].node.apps
    assert world.engine.jobs[0].node.event.type == "rollback"
    assert world.engine.jobs[0].recipes == ("release.deploy",)
    assert (snapshot.release, snapshot.rollback_to, snapshot.bundle, snapshot.deploy) == (B, B, None, True)
    assert world.sources.fetched == []
    world.forget()
    with pytest.raises(UsageError, match="no earlier release on app1, app2; nothing was rolled back"):
        world.do(lambda c: c.rollback("storefront"))
    assert world.engine.jobs == []


def test_a_rollback_is_refused_when_one_instance_has_nothing_to_go_back_to(world):
    world.sources.head = "b"
    deploy(world, only=("app1",))
    with pytest.raises(UsageError, match="on app2"):
        world.do(lambda c: c.rollback("storefront"))
    world.do(lambda c: c.rollback("storefront", Targets(exclude=("app2",))))
    assert app(world).release == A


def test_an_undeploy_removes_it_from_the_record(world):
    outcome = world.do(lambda c: c.undeploy("storefront", Targets(only=("app1",))))
    assert world.ran(outcome, "undeploy") == ["app1"]
    assert world.state("app1").apps == {}
    assert "app:storefront" not in world.state("app1").applied
    with pytest.raises(UsageError, match="app1 does not have storefront"):
        world.do(lambda c: c.undeploy("storefront", Targets(only=("app1",))))
    world.do(lambda c: c.undeploy("storefront"))
    with pytest.raises(UsageError, match="deployed nowhere"):
        world.do(lambda c: c.undeploy("storefront"))


def test_an_app_that_was_undeployed_by_hand_comes_back_with_up(world):
    world.do(lambda c: c.undeploy("storefront"))
    outcome = world.up()
    assert sorted(world.ran(outcome, "deploy")) == ["app1", "app2"]
    assert world.plan().empty


def test_a_new_instance_gets_the_revision_that_somebody_chose(world):
    deploy(world, "b" * 40)
    assert app(world).pinned
    world.forget()
    world.change(shop(instances={"app3": {"layers": ["app"]}}))
    world.up()
    assert world.sources.fetched == [("storefront", "b" * 40)]
    assert (app(world, "app3").release, app(world, "app3").pinned) == (B, True)


def test_a_plain_deploy_takes_the_choice_back(world):
    deploy(world, "b" * 40)
    world.sources.head = "c"
    deploy(world)
    world.forget()
    world.change(shop(instances={"app3": {"layers": ["app"]}}))
    world.up()
    assert world.sources.fetched == [("storefront", None)]
    assert app(world, "app3").release == C


def test_after_a_rollback_a_new_instance_gets_what_the_others_run(world):
    world.sources.head = "b"
    deploy(world)
    world.do(lambda c: c.rollback("storefront"))
    world.forget()
    world.change(shop(instances={"app3": {"layers": ["app"]}}))
    world.up()
    assert world.sources.fetched == [("storefront", "a" * 40)]


def test_a_rollback_knows_the_whole_revision_that_it_goes_back_to(world):
    for letter in "bc":
        world.sources.head = letter
        deploy(world)
    world.forget()
    for letter in "ba":
        world.do(lambda c: c.rollback("storefront"))
        assert app(world).revision == world.engine.jobs[-1].node.apps[0].revision == letter * 40
    assert app(world).revisions == {}


def test_a_record_of_an_earlier_version_has_only_the_names_of_releases(world):
    world.sources.head = "b"
    deploy(world)
    for key, text in world.backing.instances.items():
        record = json.loads(text)
        for there in record["apps"].values():
            del there["revisions"]
        world.backing.instances[key] = json.dumps(record)
    world.do(lambda c: c.rollback("storefront"))
    assert (app(world).release, app(world).revision) == (A, A)


def test_a_chosen_revision_survives_the_loss_of_the_machine(world):
    deploy(world, "b" * 40)
    world.compute.vanish("app*")
    world.up()
    assert {app(world, name).release for name in ("app1", "app2")} == {B}
    assert app(world).previous == ()


def test_the_deploy_event_deploys_all_apps(world):
    world.sources.head = "b"
    outcome = world.do(lambda c: c.run_event(LifecycleEvent.DEPLOY))
    assert sorted(world.ran(outcome, "deploy")) == ["app1", "app2", "lb1", "store1"]
    assert app(world).release == B
    assert world.state("lb1").apps == {}


def test_checking_a_deploy_fetches_and_changes_nothing(world):
    world.sources.head = "b"
    world.do(lambda c: c.deploy("storefront", options=RunOptions(mode=Mode.CHECK)))
    assert world.engine.jobs[0].mode is Mode.CHECK
    assert world.engine.jobs[0].node.apps[0].release == B
    assert app(world).release == A


def test_a_changed_source_is_noted_and_touches_nobody(world):
    apps = {"storefront": {"layers": ["app"], "source": {"git": "./storefront", "revision": "next"}}}
    world.change(shop(apps=apps))
    plan = world.plan()
    assert plan.empty
    assert "opsflow deploy shop storefront" in plan.notes[0]


def test_secrets_reach_the_recipes_and_nothing_else():
    secret = "correct horse battery"
    environment = {"TOKEN": {"value": secret, "secure": True}, "PIN": {"value": "4711", "secure": True}, "PORT": "80"}
    source = {"git": "./storefront", "password": "hunter2hunter2"}
    stack = shop(apps={"storefront": {"layers": ["app"], "source": source, "environment": environment}})
    world = ControllerWorld(stack)
    world.engine.fail("app1", "release.deploy", error=f"cannot log in with {secret}")
    world.sources.broken = ""
    world.up()
    node = next(job.node for job in world.engine.jobs if job.node.name == "app1")
    assert node.apps[0].environment == {"TOKEN": secret, "PIN": "4711", "PORT": "80"}
    assert set(node.secrets) == {secret, "4711", "hunter2hunter2"}
    world.sources.broken = "git: authentication as deploy:hunter2hunter2 failed"
    world.up()
    b = world.backing
    kept = repr((b.instances, b.runs, b.commands, b.results, b.snapshots, b.journal, world.listener.entries))
    assert secret not in kept
    assert "hunter2" not in kept
    assert '"PIN":"4711"' not in kept
    assert "FILTERED" in kept
