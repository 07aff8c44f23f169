import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_worlds import NOW, instance, shop

from opsflow.model.state import InstanceStatus as S
from opsflow.model.state import StackState
from opsflow.planning import Inputs, Plan, StepKind, plan_up
from opsflow.planning.text import text


def stack(app=4, lb=1):
    layers = {
        "lb": {"recipes": ["base", "proxy"], "instances": {f"lb{n}": {} for n in range(1, lb + 1)}},
        "app": {"recipes": ["base"], "instances": {f"app{n}": {} for n in range(1, app + 1)}},
    }
    return shop(layers=layers, apps={})


def plan(of, statuses=None, *, gone=()) -> Plan:
    """The plan after a recipe of every setup has changed."""
    states = {
        name: instance(name, (statuses or {}).get(name, S.ONLINE), layers=member.layers, applied={"setup": "older"})
        for name, member in of.members.items()
        if name not in gone
    }
    functions = {"base": {"setup", "configure"}, "proxy": {"setup", "configure"}}
    inputs = Inputs(functions=functions, digest=lambda name, event: "now", stack_file="f", recipes="r")
    return plan_up(of, StackState(stack="shop", instances=states), inputs, NOW)


def test_half_of_a_layer_goes_at_once():
    assert plan(stack()).batches == (("lb1", "app1", "app2"), ("app3", "app4"))


def test_half_of_an_odd_number_is_rounded_down():
    assert plan(stack(app=3)).batches == (("lb1", "app1"), ("app2",), ("app3",))


def test_layers_of_one_instance_go_at_once_as_nothing_else_is_possible():
    assert plan(stack(app=1)).batches == ()
    assert plan(stack(app=0, lb=1)).batches == ()


def test_an_instance_of_two_layers_counts_in_both():
    layers = stack(app=2, lb=2).model_dump(mode="json", exclude_defaults=True)["layers"]
    layers["lb"]["instances"]["lb1"] = {"layers": ["app"]}
    assert plan(shop(layers=layers, apps={})).batches == (("lb1",), ("lb2", "app1"), ("app2",))


def test_what_does_not_serve_is_not_waited_for_and_what_leaves_does_not_count():
    assert plan(stack(app=2), {"app1": S.SETUP_FAILED, "app2": S.SETUP_FAILED}).batches == ()
    with_office = shop(
        layers={
            "app": {
                "recipes": ["base"],
                "instances": {"app1": {}, "app2": {}, "app3": {}, "office": {"runs": "time", "hours": {"mon": "0-1"}}},
            }
        },
        apps={},
    )
    assert plan(with_office).batches == (("app1",), ("app2",), ("app3",))


@pytest.mark.parametrize("status", [S.SETUP_FAILED, S.CONNECTION_LOST, S.STOPPED])
def test_one_that_serves_alone_waits_for_those_that_are_coming(status):
    found = plan(stack(app=2), {"app1": status})
    assert found.batches == (("lb1",), ("app2",))


def test_the_first_start_of_a_stack_has_no_batches():
    assert plan(stack(), gone=("lb1", "app1", "app2", "app3", "app4")).batches == ()


def test_the_plan_says_so():
    said = " ".join(text(plan(stack(app=2))).split())
    assert "~ setup again in 2 batches, so that each layer keeps serving: lb1, app1; then app2" in said
    alone = plan(stack(app=2, lb=0), {"app1": S.SETUP_FAILED})
    assert "those that come online; then app2" in " ".join(text(alone).split())
    assert "batches" not in text(plan(stack(app=1)))


def test_a_saved_plan_keeps_its_batches_and_an_older_one_has_none():
    made = plan(stack())
    assert Plan.model_validate_json(made.model_dump_json()) == made
    older = made.model_dump(mode="json")
    del older["batches"]
    assert Plan.model_validate(older).batches == ()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 7),
    st.integers(1, 4),
    st.dictionaries(
        st.sampled_from(["lb1", "lb2", "app1", "app2", "app3", "app4"]),
        st.sampled_from([S.ONLINE, S.SETUP_FAILED, S.STOPPED, S.CONNECTION_LOST, S.REBOOTING]),
    ),
)
def test_never_more_than_half_of_a_layer_is_out_at_once(app, lb, statuses):
    of = stack(app=app, lb=lb)
    found = plan(of, statuses)
    again = [step.instance for step in found.of(StepKind.SETUP) if statuses.get(step.instance, S.ONLINE) is S.ONLINE]
    if found.batches:
        assert sorted(name for batch in found.batches for name in batch) == sorted(again)
        assert all(found.batches[1:])
    for batch in found.batches or (again,):
        for layer in of.layers:
            serving = [n for n, m in of.members.items() if layer in m.layers and statuses.get(n, S.ONLINE) is S.ONLINE]
            assert len(set(batch) & set(serving)) <= max(1, len(serving) // 2)
