"""Secrets never reach the records, and what is no secret stays what it is."""

import pytest
from controller_world import ControllerWorld, shop

from opsflow.controller import RunOptions, Targets
from opsflow.errors import ExitCode, UsageError
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


def everything(world):
    b = world.backing
    return repr((b.instances, b.runs, b.commands, b.results, b.snapshots, b.journal, world.listener.entries))


ATTRIBUTES = {"db": {"password": "hunter2hunter2", "host": "10.0.0.5"}, "api": [{"auth_token": 12345678}], "pin": "1"}


@pytest.mark.parametrize("level", ["stack", "layer", "instance", "app"])
def test_attributes_with_secret_names_reach_the_recipes_and_nothing_else(level):
    document = frontend().model_dump(mode="json", exclude_defaults=True)
    layer = document["layers"]["frontend"]
    at = {
        "stack": document,
        "layer": layer,
        "instance": layer["instances"]["frontend1"],
        "app": document["apps"]["storefront"],
    }[level]
    at["attributes"] = ATTRIBUTES
    world = ControllerWorld(type(frontend()).model_validate(document))
    world.engine.fail("frontend1", "release.deploy", error="cannot log in with hunter2hunter2 or 12345678 at 10.0.0.5")
    world.up()
    node = next(job.node for job in world.engine.jobs if job.node.name == "frontend1")
    assert {"hunter2hunter2", "12345678"} <= set(node.secrets)
    assert "hunter2hunter2" in repr((node.attributes, node.apps))
    kept = everything(world)
    assert "hunter2" not in kept
    assert "12345678" not in kept
    assert "10.0.0.5" in kept


def test_secrets_of_an_inventory_are_masked_where_recipes_see_them():
    world = ControllerWorld(frontend())
    create = world.compute.create
    world.compute.create = lambda request: create(request).model_copy(update={"data": ATTRIBUTES})
    world.up()
    configure = next(job for job in world.engine.jobs if job.node.event.type == "configure")
    assert {"hunter2hunter2", "12345678"} <= set(configure.node.secrets)
    assert "hunter2" not in repr((world.backing.snapshots, world.backing.results, world.backing.journal))


def test_set_values_with_secret_names_are_not_kept_and_must_be_given_again():
    world = ControllerWorld(frontend())
    world.up()
    world.forget()
    options = RunOptions(attributes={**ATTRIBUTES, "user": "hunter2hunter2"}, comment="with hunter2hunter2")
    world.engine.fail("frontend1", "base.report", error="hunter2hunter2 is wrong", times=1)
    outcome = world.do(lambda c: c.run_recipes(["base.report"], options=options))
    assert world.engine.jobs[0].node.attributes["db"]["password"] == "hunter2hunter2"
    for kept in (everything(world), repr(outcome.commands), repr(outcome.run)):
        assert "hunter2" not in kept
        assert "12345678" not in kept
    assert outcome.run.request["options"]["attributes"]["db"] == {"password": MASK, "host": "10.0.0.5"}
    with pytest.raises(
        UsageError, match=r"run 2 .* was given db.password, api, user, which is secret and was not kept"
    ):
        world.do(lambda c: c.retry(outcome.run.id))
    world.forget()
    again = RunOptions(attributes={"db": {"password": "other-password"}, "api": [], "user": "admin"})
    assert world.do(lambda c: c.retry(outcome.run.id, options=again)).exit_code is ExitCode.OK
    assert world.engine.jobs[0].node.attributes == {
        "db": {"password": "other-password", "host": "10.0.0.5"},
        "api": [],
        "user": "admin",
        "pin": "1",
    }


def test_a_retry_needs_nothing_when_nothing_was_secret():
    world = ControllerWorld(frontend())
    world.up()
    options = RunOptions(attributes={"port": 80, "debug": True})
    outcome = world.do(lambda c: c.run_recipes(["base.report"], options=options))
    world.forget()
    world.do(lambda c: c.retry(outcome.run.id))
    assert world.engine.jobs[0].node.attributes == {"port": 80, "debug": True}
