"""Whatever a file contains: a stack, or ConfigError, and soon."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsflow.config import LoadedStack, load_stack
from opsflow.config.scalars import resolve
from opsflow.errors import ConfigError
from opsflow.model.stack import Stack

Loader = Callable[[bytes], LoadedStack | None]
EXAMPLE = b"""\
stack: shop
compute: {provider: sandbox}
attributes: &common {app: {workers: 2}}
layers:
  lb: {recipes: [base, haproxy], instances: {lb1: {}}}
  app:
    recipes: {setup: [base.setup]}
    instances:
      app1: {attributes: *common}
      office: {runs: time, hours: {mon-fri: 8-20}}
    scaling: {up: {cpu: 80}, down: {cpu: 30}}
apps:
  shop:
    layers: [app]
    source: {git: ./shop, password: "sesame"}
    environment: {PORT: "8080", TOKEN: {value: "geheim", secure: true}}
schedules:
  nightly: {cron: "0 3 * * *", timezone: Europe/Zurich, event: configure}
"""
SLIPS = (b"", b"\t", b" ", b"\n", b":", b"'", b'"', b"[", b"}", b"&a ", b"*a", b"no", b"\x00", b"\xff")


@pytest.fixture(scope="module")
def try_to_load(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    file = tmp_path_factory.mktemp("any") / "shop.yml"

    def load(content: bytes) -> LoadedStack | None:
        file.write_bytes(content)
        start = time.process_time()
        try:
            return load_stack(file)
        except ConfigError as error:
            refused = error
        finally:
            assert time.process_time() - start < 2
        assert refused.problems
        assert all(problem.message for problem in refused.problems)
        assert len(str(refused)) < 200_000
        return None

    return load


@given(content=st.binary(max_size=300))
def test_random_bytes(try_to_load: Loader, content: bytes) -> None:
    try_to_load(content)


@given(content=st.text("[]{}:,-?&*!|>'\"%@`#~<=\n\t abc012", max_size=200))
def test_random_punctuation(try_to_load: Loader, content: str) -> None:
    try_to_load(content.encode())


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 6))
@settings(max_examples=300)
def test_a_valid_file_with_slips(try_to_load: Loader, seed: int, edits: int) -> None:
    dice = random.Random(seed)
    content = bytearray(EXAMPLE)
    for _ in range(edits):
        at = dice.randrange(len(content))
        piece = dice.choice(SLIPS)
        content[at : at + dice.randrange(4)] = piece
    try_to_load(bytes(content))


@given(
    key=st.sampled_from(("stack", "compute", "layers", "instances", "apps", "schedules", "attributes", "tags")),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("app", "layers", "instances", "source", "recipes", "hours", "environment", "1", "<<")),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
)
@settings(max_examples=300)
def test_any_data_in_the_place_of_any_part(try_to_load: Loader, key: str, value: Any) -> None:
    data = yaml.safe_load(EXAMPLE) | {key: value}
    try_to_load(yaml.safe_dump(data, allow_unicode=True).encode())


names = st.from_regex(r"[a-z]{1,3}[0-9]", fullmatch=True)
words = st.from_regex("[a-z]{4,5}", fullmatch=True)
# PyYAML writes some words without quotes that are not text everywhere, such as 1e3.
texts = st.text(max_size=8).filter(lambda text: isinstance(resolve(text), str | None))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.sampled_from([0.5, -1.25]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)
attributes = st.dictionaries(words, values, max_size=2)


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    layers = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    instances = draw(st.lists(names, max_size=6, unique=True))
    homes = {name: draw(st.sampled_from(layers)) for name in instances}
    return {
        "stack": draw(names),
        "compute": {"provider": "sandbox"},
        "attributes": draw(attributes),
        "layers": {
            layer: {
                "attributes": draw(attributes),
                "auto_healing": draw(st.booleans()),
                "shutdown": {"timeout": draw(st.integers(0, 3600))},
                "instances": {
                    name: {
                        "attributes": draw(attributes),
                        "layers": draw(st.lists(st.sampled_from(layers), unique=True)),
                        **draw(st.sampled_from(({}, {"runs": "load"}, {"runs": "time", "hours": {"mon": "8-20"}}))),
                    }
                    for name, home in homes.items()
                    if home == layer
                },
            }
            for layer in layers
        },
    }


@given(data=stacks(), style=st.sampled_from((True, False, None)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_stack_survives_being_written_and_read(try_to_load: Loader, data: dict[str, Any], style: bool | None) -> None:
    text = yaml.safe_dump(data, default_flow_style=style, sort_keys=False)
    loaded = try_to_load(text.encode())
    assert loaded is not None
    assert loaded.stack == Stack.model_validate(data)
    assert list(loaded.stack.members) == list(Stack.model_validate(data).members)


def test_the_example_itself_is_fine(try_to_load: Loader, tmp_path: Path) -> None:
    assert try_to_load(EXAMPLE) is not None
