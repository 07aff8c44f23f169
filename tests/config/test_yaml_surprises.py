"""Unquoted words that YAML 1.1 and 1.2 read differently, or that would lose something."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from stack_files import HEAD, LAYERS, load, only_problem, pointed_at, problems

from opsflow.config.scalars import Surprise, resolve

SURPRISES = [
    *("yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"),
    *("010", "-010", "0777", "08", "0o17", "0b101", "1_000", "0x_ff", "-0x1f"),
    *("1e3", "1E3", "12e7", "1.5e3", "-2e-2", "1e309", "1.0e+309", "9" * 30),
    *("12:30", "12:30:45", "190:20:30.15", "-1:30"),
    *("2026-01-01", "2026-1-1", "2026-01-01T12:00:00Z", "2026-01-01 12:00:00"),
    *(".inf", "-.INF", ".nan", ".NaN"),
    *("3.10", "1.50", "00.5"),
]


@pytest.mark.parametrize("word", SURPRISES)
def test_a_surprise_is_refused_where_it_stands(tmp_path: Path, word: str) -> None:
    problem = only_problem(tmp_path, HEAD + LAYERS + f"attributes:\n  a: {word}\n")
    assert (problem.line, problem.column, problem.path) == (5, 6, "attributes/a")
    assert pointed_at(problem) == word
    assert problem.hint


@pytest.mark.parametrize("word", SURPRISES)
def test_quotes_make_it_text(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, HEAD + LAYERS + f'attributes:\n  a: "{word}"\n').stack.attributes == {"a": word}


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "010", "12:30", "2026-01-01", "1", "1.5", "true", "null", "~"]
)
def test_as_a_key(tmp_path: Path, word: str) -> None:
    problem = only_problem(tmp_path, HEAD + LAYERS + f"attributes:\n  {word}: 1\n")
    assert (problem.line, problem.column) == (5, 3)
    assert problem.hint == f'put the key in quotes: "{word}"'
    assert load(tmp_path, HEAD + LAYERS + f'attributes:\n  "{word}": 1\n').stack.attributes == {word: 1}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None)),
        *(("0", 0), ("-7", -7), ("+7", 7), ("8080", 8080), ("0x1F", 31), (str(2**63 - 1), 2**63 - 1)),
        *(("1.5", 1.5), ("80.0", 80.0), (".5", 0.5), ("5.", 5.0), ("1.5e+3", 1500.0)),
        *(("y", "y"), ("n", "n"), ("yEs", "yEs"), ("nope", "nope"), ("8-20", "8-20"), ("1.2.3", "1.2.3")),
        *(("v1", "v1"), ("127.0.0.1", "127.0.0.1"), ("8080:80", "8080:80"), ("a:b", "a:b"), ("-", "-"), ("1GB", "1GB")),
    ],
)
def test_what_means_the_same_everywhere(word: str, value: object) -> None:
    assert resolve(word) == value
    assert type(resolve(word)) is type(value)


def test_the_hint_for_an_octal_number_gives_both_readings() -> None:
    assert resolve("010") == Surprise("unquoted '010' is octal in YAML 1.1", 'write 8 or 10, or "010" for text')


def test_the_hint_for_a_word_says_what_it_would_mean() -> None:
    assert resolve("no") == Surprise("unquoted 'no' is false in YAML 1.1", 'write false, or "no" for text')


def test_a_surprise_and_the_wrong_type_are_one_problem(tmp_path: Path) -> None:
    text = "layers: {app: {auto_healing: no, shutdown: {timeout: 010}}}\n"
    assert [problem.path for problem in problems(tmp_path, HEAD + text)] == [
        "layers/app/auto_healing",
        "layers/app/shutdown/timeout",
    ]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)


@given(st.one_of(st.text("0123456789eE+-._:xobTZ ", max_size=12), st.text(max_size=8)).map(str.strip))
def test_what_is_accepted_is_what_pyyaml_reads(word: str) -> None:
    """PyYAML knows YAML 1.1: what is not refused must mean the same there."""
    value = resolve(word)
    if isinstance(value, Surprise):
        return
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, word, (True, False))
    try:
        expected = loader.construct_object(yaml.ScalarNode(tag, word)) if tag != "tag:yaml.org,2002:value" else word
    except (ValueError, yaml.YAMLError):
        expected = word
    assert same(value, expected), (word, value, expected)
