"""The example stack file: it is valid, for opsflow and for editors, and its recipes exist."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import yaml

from opsflow.config import load_stack, stack_schema
from opsflow.engine.catalog import AstCatalog
from opsflow.lifecycle.runlists import run_list, unknown_recipes
from opsflow.model.events import LifecycleEvent

PROJECT = Path(__file__).parents[2]
SHOP = PROJECT / "stacks" / "shop.yml"
SCHEMA = PROJECT / "stacks" / "opsflow.schema.json"


def test_its_recipes_exist_and_run_in_order() -> None:
    stack, functions = load_stack(SHOP).stack, AstCatalog([PROJECT / "recipes"]).modules()
    assert unknown_recipes(stack, functions) == ()
    assert run_list(stack, "app1", LifecycleEvent.SETUP, functions) == ("base.setup", "python_app.setup")
    assert run_list(stack, "lb1", LifecycleEvent.SHUTDOWN, functions) == ("haproxy.shutdown",)


def test_the_schema_beside_it_is_the_present_one_and_accepts_it() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert schema == json.loads(json.dumps(stack_schema())), "write it anew: make docs"
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(SHOP.read_text()))


def test_what_the_demo_changes_in_it_is_there() -> None:
    text = SHOP.read_text()
    for line in ("      app2: {}\n", "\napps:", "      directory: ./storefront   # or a git repository"):
        assert text.count(line) == 1
