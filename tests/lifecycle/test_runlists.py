from hypothesis import given
from hypothesis import strategies as st

from opsflow.lifecycle.runlists import layers_run_list, run_list, stack_recipes, unknown_recipes
from opsflow.model.events import LifecycleEvent as E
from opsflow.model.stack import Stack

FUNCTIONS = {
    "base": {"setup", "configure", "helper"},
    "nginx": {"setup", "configure", "shutdown"},
    "app": {"setup", "deploy", "undeploy"},
}


def stack(**layers) -> Stack:
    return Stack.model_validate({"stack": "s", "compute": {"provider": "fake"}, "layers": layers})


def test_modules_bring_the_functions_named_after_the_event():
    one = stack(web={"recipes": ["base", "nginx"], "instances": {"a": {}}})
    assert run_list(one, "a", E.SETUP, FUNCTIONS) == ("base.setup", "nginx.setup")
    assert run_list(one, "a", E.SHUTDOWN, FUNCTIONS) == ("nginx.shutdown",)
    assert run_list(one, "a", E.DEPLOY, FUNCTIONS) == ()


def test_spelled_out_recipes_come_after_the_modules():
    one = stack(web={"recipes": {"modules": ["nginx"], "setup": ["base.helper"]}, "instances": {"a": {}}})
    assert run_list(one, "a", E.SETUP, FUNCTIONS) == ("nginx.setup", "base.helper")


def test_two_layers_in_the_stacks_order_and_no_repeats():
    two = stack(
        first={"recipes": ["base", "nginx"]},
        second={"recipes": ["base", "app"], "instances": {"a": {"layers": ["first"]}}},
    )
    assert run_list(two, "a", E.SETUP, FUNCTIONS) == ("base.setup", "nginx.setup", "app.setup")


def test_a_layer_that_left_the_stack_brings_nothing():
    one = stack(web={"recipes": ["nginx"]})
    assert layers_run_list(one, ("web", "gone"), E.SHUTDOWN, FUNCTIONS) == ("nginx.shutdown",)


def test_unknown_recipes_are_named_with_their_place():
    one = stack(web={"recipes": {"modules": ["nope"], "setup": ["base.setup", "base.setupp", "other.x"]}})
    assert [(u.path, u.name) for u in unknown_recipes(one, FUNCTIONS)] == [
        ("layers/web/recipes/modules", "nope"),
        ("layers/web/recipes/setup", "base.setupp"),
        ("layers/web/recipes/setup", "other.x"),
    ]


def test_every_recipe_of_a_stack():
    one = stack(web={"recipes": ["nginx"]}, app={"recipes": {"deploy": ["app.deploy"]}})
    assert stack_recipes(one, FUNCTIONS) == ("app.deploy", "nginx.configure", "nginx.setup", "nginx.shutdown")


names = st.lists(st.sampled_from(["base.setup", "nginx.setup", "app.setup", "base.helper"]), max_size=4)


@given(st.lists(names, min_size=1, max_size=4), st.data())
def test_an_instance_runs_the_recipes_of_all_its_layers_in_order(recipes, data):
    layers = {f"l{number}": {"recipes": {"setup": found}} for number, found in enumerate(recipes)}
    mine = data.draw(st.lists(st.sampled_from(sorted(layers)), min_size=1, unique=True))
    built = Stack.model_validate(
        {"stack": "s", "compute": {"provider": "fake"}, "layers": layers, "instances": {"a": {"layers": mine}}}
    )
    found = run_list(built, "a", E.SETUP, FUNCTIONS)
    expected = [recipe for name in sorted(mine) for recipe in layers[name]["recipes"]["setup"]]
    assert list(found) == list(dict.fromkeys(expected))
