from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_worlds import NOW, World, deployed, instance, machine, shop

from opsflow.errors import StalePlan
from opsflow.model.state import InstanceStatus as S
from opsflow.planning import Fingerprint, Plan, StepKind, plan_destroy, plan_up


def up(world: World, now=NOW) -> Plan:
    return plan_up(world.stack, world.observed(), world.inputs(), now)


def built(stack=None) -> World:
    world = World(stack or shop())
    world.apply(up(world))
    return world


def steps(plan: Plan, name: str):
    return [step.kind.value for step in plan.steps if step.instance == name]


def reason(plan: Plan, kind: StepKind, name: str) -> str:
    return next(step.reason for step in plan.of(kind) if step.instance == name)


def test_a_new_stack_is_created_set_up_deployed_and_configured():
    plan = up(World(shop()))
    assert steps(plan, "lb1") == ["create", "setup", "configure"]
    assert steps(plan, "app1") == ["create", "setup", "deploy", "configure"]
    assert steps(plan, "office") == ["create", "setup", "deploy", "configure"]
    assert steps(plan, "burst1") == []
    assert all(step.reason for step in plan.steps)
    setup = next(step for step in plan.of(StepKind.SETUP) if step.instance == "lb1")
    assert setup.recipes == ("base.setup", "proxy.setup")


def test_the_second_up_is_empty():
    assert up(built()).empty


def test_an_added_instance_is_set_up_and_everyone_configures():
    world = built()
    world.stack = shop(instances={"app3": {"layers": ["app"]}})
    plan = up(world)
    assert steps(plan, "app3") == ["create", "setup", "deploy", "configure"]
    assert steps(plan, "app1") == ["configure"]
    assert reason(plan, StepKind.CONFIGURE, "lb1") == "app3 came online"


def test_an_instance_that_left_the_file_is_terminated_and_the_others_configure():
    world = built()
    layers = shop().model_dump(mode="json", exclude_defaults=True)["layers"]
    del layers["app"]["instances"]["app2"]
    layers["app"]["instances"]["office"]["hours"] = {"mon-fri": "8-20"}
    world.stack = shop(layers=layers)
    plan = up(world)
    assert steps(plan, "app2") == ["terminate"]
    assert {step.instance for step in plan.of(StepKind.CONFIGURE)} == {"lb1", "app1", "office"}
    assert reason(plan, StepKind.CONFIGURE, "lb1") == "app2 left"


def test_time_instances_follow_their_hours():
    world = built()
    plan = up(world, NOW + timedelta(hours=9))
    assert steps(plan, "office") == ["stop"]
    assert reason(plan, StepKind.STOP, "office") == "outside its hours until Tue 08:00 UTC"
    world.apply(plan)
    assert up(world, NOW + timedelta(hours=9)).empty
    back = up(world, NOW + timedelta(hours=24))
    assert steps(back, "office") == ["start", "setup", "deploy", "configure"]


def test_load_instances_are_left_as_they_are():
    world = built()
    for status in (S.ONLINE, S.STOPPED):
        world.instances["burst1"] = instance("burst1", status, runs="load")
        assert not {"start", "stop", "create", "terminate"} & set(steps(up(world), "burst1"))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (S.REQUESTED, ["start", "setup", "deploy", "configure"]),
        (S.PENDING, ["start", "setup", "deploy", "configure"]),
        (S.BOOTING, ["start", "setup", "deploy", "configure"]),
        (S.RUNNING_SETUP, ["setup", "deploy", "configure"]),
        (S.SETUP_FAILED, ["setup", "deploy", "configure"]),
        (S.START_FAILED, ["start", "setup", "deploy", "configure"]),
        (S.STOPPED, ["start", "setup", "deploy", "configure"]),
        (S.STOPPING, ["stop", "start", "setup", "deploy", "configure"]),
        (S.SHUTTING_DOWN, ["stop", "start", "setup", "deploy", "configure"]),
        (S.STOP_FAILED, ["stop", "start", "setup", "deploy", "configure"]),
        (S.TERMINATING, ["terminate", "create", "setup", "deploy", "configure"]),
        (S.TERMINATED, ["terminate", "create", "setup", "deploy", "configure"]),
        (S.CONNECTION_LOST, ["reconnect", "configure"]),
        (S.REBOOTING, ["reconnect"]),
        (S.ONLINE, []),
    ],
)
def test_every_status_is_resumed(status, expected):
    world = built()
    state = world.instances["app1"]
    world.instances["app1"] = state.model_copy(update={"status": status})
    if status is not S.ONLINE:
        assert steps(up(world), "app1") == expected
    else:
        assert up(world).empty


def test_a_record_without_a_machine_gets_one():
    world = built()
    world.instances["app1"] = instance("app1", S.START_FAILED, machine=None)
    assert steps(up(world), "app1")[0] == "create"


def test_changed_layers_mean_setup_again():
    world = built()
    layers = shop().model_dump(mode="json", exclude_defaults=True)["layers"]
    layers["app"]["instances"]["office"]["hours"] = {"mon-fri": "8-20"}
    layers["lb"]["instances"]["lb1"] = {"layers": ["app"]}
    world.stack = shop(layers=layers)
    plan = up(world)
    assert steps(plan, "lb1") == ["setup", "deploy", "configure"]
    assert reason(plan, StepKind.SETUP, "lb1") == "its layers changed from lb to lb, app"


def test_changed_attributes_mean_setup_again_on_everyone():
    world = built()
    world.stack = shop(attributes={"x": 1})
    plan = up(world)
    assert steps(plan, "app1") == ["setup", "deploy", "configure"]
    assert reason(plan, StepKind.SETUP, "app1") == "recipes or attributes of its setup changed"


def test_a_configure_that_failed_is_repeated():
    world = built()
    state = world.instances["lb1"]
    world.instances["lb1"] = state.model_copy(update={"applied": {**state.applied, "configure": "older"}})
    assert [(step.kind, step.instance) for step in up(world).steps] == [(StepKind.CONFIGURE, "lb1")]


def test_an_added_app_is_deployed_and_a_removed_one_undeployed():
    world = built()
    source = {"directory": "other"}
    world.stack = shop(apps={"other": {"layers": ["app"], "source": source}})
    plan = up(world)
    assert steps(plan, "app1") == ["undeploy", "deploy"]
    assert [step.apps for step in plan.steps if step.instance == "app1"] == [("storefront",), ("other",)]
    world.apply(plan)
    assert up(world).empty


def test_an_app_whose_source_changed_touches_nobody_and_is_noted():
    world = built()
    world.stack = shop(apps={"storefront": {"layers": ["app"], "source": {"directory": "elsewhere"}}})
    plan = up(world)
    assert plan.empty
    assert "opsflow deploy shop storefront" in plan.notes[0]


def test_a_plan_survives_json():
    plan = up(World(shop()))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_a_stale_plan_says_what_changed():
    made = Fingerprint(stack_file="a", recipes="b", state=1)
    made.check(Fingerprint(stack_file="a", recipes="b", state=1))
    with pytest.raises(StalePlan, match="the stack file and the recipes changed"):
        made.check(Fingerprint(stack_file="x", recipes="y", state=1))
    with pytest.raises(StalePlan, match=r"version 1, now 2"):
        made.check(Fingerprint(stack_file="a", recipes="b", state=2))


def test_destroy_ends_everything_and_configures_nobody():
    world = built()
    plan = plan_destroy(world.stack, world.observed(), world.inputs(), NOW)
    assert {step.kind for step in plan.steps} == {StepKind.TERMINATE}
    world.apply(plan)
    assert world.instances == {}


states = st.builds(
    instance,
    st.just("x"),
    st.sampled_from(S),
    layers=st.sampled_from([("app",), ("lb",), ("lb", "app"), ("gone",)]),
    machine=st.sampled_from([None, machine("x")]),
    apps=st.sampled_from([{}, {"storefront": deployed()}, {"gone": deployed()}]),
    applied=st.sampled_from([{}, {"setup": "older"}]),
)
worlds = st.dictionaries(st.sampled_from(["lb1", "app1", "app2", "office", "burst1", "gone1", "gone2"]), states)


@settings(max_examples=300, deadline=None)
@given(worlds, st.integers(0, 24 * 8))
def test_a_plan_converges_from_any_observed_state(instances, hours):
    now = NOW + timedelta(hours=hours)
    named = {name: state.model_copy(update={"name": name}) for name, state in instances.items()}
    for name, state in named.items():
        if state.status in (S.ONLINE, S.RUNNING_SETUP, S.SETUP_FAILED, S.REBOOTING, S.CONNECTION_LOST):
            named[name] = state.model_copy(update={"machine": machine(name)})
    world = World(shop(), named)
    world.apply(up(world, now))
    again = up(world, now)
    assert again.empty, again.steps
    wanted = {"lb1", "app1", "app2"} | ({"office"} if "office" in world.observed().online else set())
    assert wanted <= set(world.observed().online)
    assert not {"gone1", "gone2"} & set(world.instances)


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_everyone_online_configures_after_the_last_membership_change(instances):
    named = {
        name: state.model_copy(update={"name": name, "machine": machine(name)}) for name, state in instances.items()
    }
    world = World(shop(), named)
    before = set(world.observed().online)
    plan = up(world)
    world.apply(plan)
    kinds = [step.kind for step in plan.steps]
    if set(world.observed().online) != before:
        last = max(index for index, kind in enumerate(kinds) if kind is not StepKind.CONFIGURE)
        assert {step.instance for step in plan.steps[last + 1 :]} == set(world.observed().online)
