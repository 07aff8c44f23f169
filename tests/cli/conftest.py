"""The program on a project whose machines and engine are fakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import Program, write_project


@pytest.fixture
def opsflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Program:
    """The program on a fresh project that has no machines yet."""
    root = tmp_path / "project"
    write_project(root)
    return Program(root, capsys)


@pytest.fixture
def shop(opsflow: Program) -> Program:
    """The program on a project whose stack is up."""
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 0, answer.err
    return opsflow
