"""The JSON Schema agrees with the loader."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from stack_files import HEAD, load

from opsflow.config import load_stack, stack_schema
from opsflow.config.plain import read_document
from opsflow.config.reading import read_text
from opsflow.errors import ConfigError

EXAMPLES = sorted(
    (Path(str(one)) for one in files("opsflow.config").joinpath("examples").iterdir()), key=lambda one: one.name
)
SHIPPED = sorted((Path(__file__).parents[2] / "stacks").glob("*.yml"))


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    return Draft7Validator(stack_schema())


def plain(path: Path) -> Any:
    return read_document(read_text(path)).document.data


def test_it_is_a_draft_7_schema() -> None:
    schema = stack_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def every_schema(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            yield from every_schema(one)
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from every_schema(one)


def test_it_uses_nothing_newer_than_draft_7() -> None:
    newer = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "minContains"}
    for schema in every_schema(stack_schema()):
        assert not newer & schema.keys()
        assert not ("$ref" in schema and len(schema) > 1)
        if "$ref" in schema:
            assert schema["$ref"].startswith("#/definitions/")
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert not isinstance(schema.get(bound), bool)


def test_fields_are_described_for_editors() -> None:
    schema = stack_schema()
    assert schema["properties"]["recipe_paths"]["description"].startswith("Directories with recipe modules")
    assert schema["definitions"]["Instance"]["properties"]["hours"]["anyOf"][0]["description"]
    for model in schema["definitions"].values():
        assert model.get("description"), model


@pytest.mark.parametrize("path", EXAMPLES + SHIPPED, ids=lambda path: path.name)
def test_every_example_is_accepted_by_both(validator: Draft7Validator, path: Path) -> None:
    load_stack(path)
    assert [error.message for error in validator.iter_errors(plain(path))] == []


def test_every_noun_has_an_example() -> None:
    nouns = {"stack", "compute", "layer", "instance", "recipes", "hours", "scaling", "app", "source", "schedule"}
    assert nouns <= {path.stem for path in EXAMPLES}


L = "layers: {a: {instances: {a1: {}}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "stack: Shop\ncompute: {provider: sandbox}\n" + L,
        "stack: con\ncompute: {provider: sandbox}\n" + L,
        f"stack: {'x' * 41}\ncompute: {{provider: sandbox}}\n" + L,
        "stack: shop\n" + L,
        "stack: shop\ncompute: {provider: vmware}\n" + L,
        "stack: shop\ncompute: sandbox\n" + L,
        HEAD,
        HEAD + "layers: {}\n",
        HEAD + "layers: [a]\n",
        HEAD + L + "unknown: 1\n",
        HEAD + L + "recipe_paths: [../x]\n",
        HEAD + L + "recipe_paths: [/x]\n",
        HEAD + L + "timeouts: {boot: 0}\n",
        HEAD + L + "attributes: [1]\n",
        HEAD + L + "tags: {a: 1}\n",
        HEAD + "layers: {A: {}}\n",
        HEAD + "layers: {a: {recipes: base}}\n",
        HEAD + "layers: {a: {recipes: {setups: []}}}\n",
        HEAD + "layers: {a: {recipes: {setup: [base]}}}\n",
        HEAD + "layers: {a: {recipes: [3]}}\n",
        HEAD + "layers: {a: {auto_healing: 'yes'}}\n",
        HEAD + "layers: {a: {shutdown: {timeout: -1}}}\n",
        HEAD + "layers: {a: {scaling: {up: {wait: 0}}}}\n",
        HEAD + "layers: {a: {scaling: {up: {cpu: 101}}}}\n",
        HEAD + "layers: {a: {scaling: {up: {wait: 1.5}}}}\n",
        HEAD + "layers: {a: {packages: nginx}}\n",
        HEAD + "layers: {a: {instances: {-x: {}}}}\n",
        HEAD + "layers: {a: {instances: {a.b: {}}}}\n",
        HEAD + "layers: {a: {instances: {a1: {runs: sometimes}}}}\n",
        HEAD + "layers: {a: {instances: {a1: {runs: time, hours: {mon-fry: 8-20}}}}}\n",
        HEAD + "layers: {a: {instances: {a1: {runs: time, hours: {mon: eight}}}}}\n",
        HEAD + "layers: {a: {instances: {a1: {runs: time, hours: {mon: 24}}}}}\n",
        HEAD + "layers: {a: {instances: {a1: {runs: time, hours: 8-20}}}}\n",
        HEAD + "layers: {a: {volumes: [{mount_point: data, number_of_disks: 1, size: 1}]}}\n",
        HEAD + "layers: {a: {volumes: [{mount_point: /data, size: 1}]}}\n",
        HEAD + L + "apps: {s: {layers: [], source: {git: ./x}}}\n",
        HEAD + L + "apps: {s: {layers: [a]}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x, archive: ./y}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x, revision: --all}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {archive: x, sha256: ABC}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x}, environment: {1X: a}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x}, environment: {X: true}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x}, environment: {X: {secure: true}}}}\n",
        HEAD + L + "apps: {s: {layers: [a], source: {git: ./x}, deploy_to: srv}}\n",
        HEAD + L + "schedules: {s: {event: setup}}\n",
        HEAD + L + "schedules: {s: {cron: '@daily', event: boot}}\n",
        HEAD + L + "schedules: {s: {cron: '@daily'}}\n",
        HEAD + L + "schedules: {s: {cron: '@daily', event: setup, recipes: [a.b]}}\n",
    ],
)
def test_wrong_files_are_refused_by_both(validator: Draft7Validator, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)
    assert not validator.is_valid(plain(tmp_path / "shop.yml"))


@pytest.mark.parametrize(
    "text",
    [
        "layers: {a: {recipes: [base, x.y]}}",
        "layers: {a: {recipes: {modules: [base]}}}",
        "layers: {a: {instances: {a1: {runs: time, hours: {Mon-Fri: 8-20, 'sat, sun': '1-2, 4'}}}}}",
        "layers: {a: {instances: {a1: {runs: time, hours: {daily: [1, 2, '3-4'], mon: 0}}}}}",
        L + "apps: {s: {layers: [a], source: {git: ./x}, environment: {A: 1, B: 1.5, C: x, D: {value: y}}}}",
        L + "apps: {s: {layers: [a], source: {git: ./x, password: x}}}",
        L + "schedules: {s: {cron: '@daily', recipes: [a.b]}}",
        L + "region: null",
    ],
)
def test_short_forms_are_accepted_by_both(validator: Draft7Validator, tmp_path: Path, text: str) -> None:
    load(tmp_path, HEAD + text + "\n")
    assert [error.message for error in validator.iter_errors(plain(tmp_path / "shop.yml"))] == []
