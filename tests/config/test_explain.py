"""Where the value of an attribute comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack_files import HEAD, load

from opsflow.config import Explanation, LoadedStack, Part, explain
from opsflow.config.document import Document
from opsflow.errors import UsageError
from opsflow.model.stack import Stack

TEXT = (
    HEAD
    + """\
attributes:
  app: {workers: 2, hosts: [a, b], tls: {on-by: default}}
layers:
  base:
    attributes:
      app: {workers: 4, user: www}
  web:
    attributes:
      app:
        workers: 8
    instances:
      web1: {layers: [base], attributes: {app: {hosts: [c]}, net.ipv4.forward: 1}}
instances:
  free: {layers: [base]}
"""
)


@pytest.fixture
def stack(tmp_path: Path) -> LoadedStack:
    return load(tmp_path, TEXT)


def lines(explanation: Explanation) -> list[tuple[str, int | None, Any, str]]:
    return [(level.name, level.line, level.value, level.part.value) for level in explanation.levels]


def test_every_level_in_order_of_strength(stack: LoadedStack) -> None:
    found = explain(stack, "app.workers", "web1", {"app": {"workers": 16}})
    assert lines(found) == [
        ("stack", 4, 2, "overridden"),
        ("layer base", 8, 4, "overridden"),
        ("layer web", 12, 8, "overridden"),
        ("given", None, 16, "wins"),
    ]
    assert found.value == 16
    assert found.winner is found.levels[-1]


def test_places_are_those_of_the_keys(stack: LoadedStack) -> None:
    level = explain(stack, "app.workers", "free").levels[-1]
    assert (level.path, level.column, level.file) == ("layers/base/attributes/app/workers", 13, str(stack.file))


def test_an_instance_that_is_declared_outside_of_layers(tmp_path: Path) -> None:
    stack = load(tmp_path, HEAD + "layers: {a: {}}\ninstances:\n  x: {layers: [a], attributes: {k: 1}}\n")
    assert explain(stack, "k", "x").levels[0].path == "instances/x/attributes/k"


def test_arrays_replace(stack: LoadedStack) -> None:
    found = explain(stack, "app.hosts", "web1")
    assert found.value == ["c"]
    assert [level.part for level in found.levels] == [Part.OVERRIDDEN, Part.WINS]


def test_an_object_has_several_contributors(stack: LoadedStack) -> None:
    found = explain(stack, "app", "web1", {})
    assert [level.name for level in found.contributors] == ["stack", "layer base", "layer web", "instance web1"]
    assert found.value == {"workers": 8, "hosts": ["c"], "tls": {"on-by": "default"}, "user": "www"}


def test_a_plain_value_above_the_key_hides_it(stack: LoadedStack) -> None:
    found = explain(stack, "app.workers", "free", {"app": "gone"})
    assert [level.part for level in found.levels] == [Part.OVERRIDDEN, Part.OVERRIDDEN, Part.HIDES]
    assert found.winner is None
    assert found.value is None


def test_a_key_with_dots_in_its_name(stack: LoadedStack) -> None:
    assert explain(stack, "net.ipv4.forward", "web1").value == 1


@pytest.mark.parametrize("key", ["app.worker", "app.workers.x", "", ".", "app.", "xyz"])
def test_a_key_that_nobody_sets(stack: LoadedStack, key: str) -> None:
    if key == "app.workers.x":
        assert explain(stack, key, "free").winner is None
        return
    with pytest.raises(UsageError) as caught:
        explain(stack, key, "free")
    assert caught.value.hint


def test_the_nearest_key_is_suggested(stack: LoadedStack) -> None:
    with pytest.raises(UsageError) as caught:
        explain(stack, "app.worker", "web1")
    assert caught.value.hint == "did you mean 'app.workers'?"


def test_an_unknown_instance(stack: LoadedStack) -> None:
    with pytest.raises(UsageError, match="has no instance 'web2'") as caught:
        explain(stack, "app", "web2")
    assert caught.value.hint == "did you mean 'web1'?"


leaves = st.one_of(st.integers(), st.none(), st.lists(st.integers(), max_size=2))
objects = st.dictionaries(
    st.sampled_from("ab"), st.one_of(leaves, st.dictionaries(st.sampled_from("ab"), leaves)), max_size=2
)


@given(levels=st.lists(objects, min_size=5, max_size=5), key=st.sampled_from(["a", "b", "a.a", "a.b", "b.a"]))
def test_the_explained_value_is_the_value_that_recipes_see(levels: list[dict[str, Any]], key: str) -> None:
    import yaml

    from opsflow.config.plain import read_document
    from opsflow.config.reading import Text

    data = {
        "stack": "shop",
        "compute": {"provider": "sandbox"},
        "attributes": levels[0],
        "layers": {
            "one": {"attributes": levels[1]},
            "two": {"attributes": levels[2], "instances": {"x": {"layers": ["one"], "attributes": levels[3]}}},
        },
    }
    text = yaml.safe_dump(data, sort_keys=False)
    document: Document = read_document(Text("shop.yml", text.encode(), text, tuple(text.splitlines()))).document
    loaded = LoadedStack(Stack.model_validate(data), Path("shop.yml"), "", document)
    expected: Any = loaded.stack.attributes_of("x", levels[4])
    try:
        for part in key.split("."):
            expected = expected[part]
    except (KeyError, TypeError):
        expected = None
    try:
        found = explain(loaded, key, "x", levels[4])
    except UsageError:
        assert expected is None
        return
    assert found.value == expected
