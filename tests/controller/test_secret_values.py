"""Secrets never reach the records, and what is no secret stays what it is."""

import pytest
from controller_world import ControllerWorld, shop

from opsflow.controller import Targets
from opsflow.errors import ExitCode
from opsflow.redact import MASK


def shop_with_secrets(*values):
    environment = {f"S{number}": {"value": value, "secure": True} for number, value in enumerate(values)}
    return {"storefront": {"layers": ["frontend"], "source": {"git": "./storefront"}, "environment": environment}}


def frontend(**apps):
    recipes = ["base", "python_app", "release"]
    layers = {"frontend": {"recipes": recipes, "instances": {"frontend1": {}, "frontend2": {}}}}
    return shop(layers=layers, apps=apps or {"storefront": {"layers": ["frontend"], "source": {"git": "./storefront"}}})


def identifiers(world):
    """What records are found by."""
    words = {"reason", "detail", "comment", "error", "message"}
    commands, runs = world.store.commands(stack="shop"), world.store.runs("shop")
    results = [world.store.result(command.id) for command in commands if command.recipes]
    return (
        sorted(str(command.model_dump(exclude=words)) for command in commands),
        [run.model_dump(exclude=words) for run in runs],
        sorted((result.instance, *(operation.recipe for operation in result.operations)) for result in results),
        sorted(str(entry.model_dump(exclude={*words, "data"})) for entry in world.listener.entries),
    )


def test_a_secret_that_equals_a_name_a_key_or_a_path_changes_no_record():
    # The name of the layer, the app, the stack's file, a release, a recipe, an event and a directory.
    values = ("frontend", "storefront", "aaaaaa", "python_app.setup", "configure", "/srv/www", "execute_recipes")
    world, plain = ControllerWorld(frontend(**shop_with_secrets(*values))), ControllerWorld(frontend())
    for each in (world, plain):
        each.parallel = 1
        each.up()
        each.do(lambda c: c.deploy("storefront"))
        each.do(lambda c: c.run_recipes(["base.report"], Targets(only=("frontend1",))))
    there, expected = world.state("frontend1"), plain.state("frontend1")
    assert (there.apps, there.layers, there.token) == (expected.apps, ("frontend",), expected.token)
    assert there.applied.keys() == expected.applied.keys()
    assert identifiers(world) == identifiers(plain)
    assert world.plan().empty


def test_a_token_that_contains_a_secret_finds_its_machine_again():
    world = ControllerWorld(frontend())
    world.up()
    token = world.state("frontend1").token
    world.change(frontend(**shop_with_secrets(token[:12])))
    assert world.do(lambda c: c.reboot()).exit_code is ExitCode.OK
    assert world.up().exit_code is ExitCode.OK
    assert world.state("frontend1").token == token
    assert len(world.compute.machines) == 2


@pytest.mark.parametrize("secret", ["no python here", "frontend1"])
def test_what_is_written_in_words_is_masked(secret):
    world = ControllerWorld(frontend(**shop_with_secrets(secret)))
    world.engine.fail("frontend2", "python_app.setup", error=f"the host says: {secret}")
    world.up()
    failed = next(command for command in world.store.commands(stack="shop") if command.status == "failed")
    assert MASK in failed.detail
    assert MASK in world.state("frontend2").reason
    assert MASK in world.store.result(failed.id).error
    assert failed.instance == world.store.result(failed.id).instance == "frontend2"
