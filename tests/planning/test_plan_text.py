from model_worlds import NOW, World, shop

from opsflow.model.command import CommandType
from opsflow.planning import plan_destroy, plan_event, plan_up
from opsflow.planning.text import Marker, render, summary, text


def plan(world: World):
    return plan_up(world.stack, world.observed(), world.inputs(), NOW)


def test_a_plan_shows_machines_recipes_and_reasons():
    shown = text(plan(World(shop())))
    assert "  + create lb1: new; it runs 24/7" in shown
    assert "    then setup: after its first boot" in shown
    assert "          base.setup -> proxy.setup" in shown
    assert "          apps: storefront" in shown
    assert "  ~ configure: " in shown
    assert "          lb1: base.configure -> proxy.configure" in shown
    assert "          app1, app2, office: base.configure" in shown
    assert shown.index("          lb1: base") < shown.index("          app1, app2, office: base"), "as in the stack"
    assert shown.endswith("Plan: 4 to create, 4 to set up, 3 to deploy on, 4 to configure.")


def test_machines_of_an_inventory_are_taken_and_left_not_made_and_ended():
    world = World(shop(compute={"provider": "static"}))
    shown = text(plan(world))
    assert "  + take lb1 from the inventory: new; it runs 24/7" in shown
    assert "    then setup: it is new to the stack" in shown
    assert shown.endswith("Plan: 4 to take from the inventory, 4 to set up, 3 to deploy on, 4 to configure.")
    world.apply(plan(world))
    gone = text(plan_destroy(world.stack, world.observed(), world.inputs(), NOW))
    assert "  - leave app1 to itself: the stack is destroyed" in gone
    assert gone.endswith("Plan: 4 to leave to themselves.")


def test_it_fits_80_columns():
    stack = shop(instances={f"instance-with-a-long-name-{n}": {"layers": ["lb", "app"]} for n in range(12)})
    assert max(len(line.text) for line in render(plan(World(stack)))) <= 80


def test_lines_carry_markers():
    world = World(shop())
    assert {line.marker for line in render(plan(world))} == {Marker.ADD, Marker.CHANGE, Marker.PLAIN}
    world.apply(plan(world))
    destroy = plan_destroy(world.stack, world.observed(), world.inputs(), NOW)
    assert {line.marker for line in render(destroy)} == {Marker.REMOVE, Marker.PLAIN}
    assert "  - terminate app1: the stack is destroyed" in text(destroy)


def test_nothing_to_do_is_said():
    world = World(shop())
    world.apply(plan(world))
    assert text(plan(world)) == "No changes. The stack is as its file says."


def test_an_event_asked_for():
    world = World(shop())
    world.apply(plan(world))
    made = plan_event(
        world.stack, world.observed(), world.inputs(), NOW, command=CommandType.SETUP, instances=("app1",)
    )
    assert summary(made) == "Plan: 1 to set up, 1 to deploy on, 4 to configure."
    recipes = plan_event(
        world.stack,
        world.observed(),
        world.inputs(),
        NOW,
        command=CommandType.EXECUTE_RECIPES,
        instances=("app1", "lb1"),
        recipes=("a.b",),
    )
    assert summary(recipes) == "Plan: 2 to run recipes on."
    deploy = plan_event(
        world.stack,
        world.observed(),
        world.inputs(),
        NOW,
        command=CommandType.DEPLOY,
        instances=("app1",),
        apps=("storefront",),
    )
    assert deploy.steps[0].recipes == ("release.deploy",)
