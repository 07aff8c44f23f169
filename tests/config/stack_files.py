"""Writing stack files and reading what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsflow.config import LoadedStack, load_stack
from opsflow.errors import ConfigError, Problem

HEAD = "stack: shop\ncompute: {provider: sandbox}\n"
"""Two lines; what a test adds begins in line 3."""
LAYERS = "layers: {app: {instances: {app1: {}}}}\n"


def load(directory: Path, text: str | bytes) -> LoadedStack:
    file = directory / "shop.yml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_stack(file)


def problems(directory: Path, text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    return caught.value.problems


def only_problem(directory: Path, text: str | bytes) -> Problem:
    found = problems(directory, text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def pointed_at(problem: Problem) -> str:
    """The text at the problem's place."""
    assert problem.snippet is not None
    assert problem.column is not None
    return problem.snippet[problem.column - 1 :]
