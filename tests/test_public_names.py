"""What recipe authors may import. A change here is a change of the public interface: write it in the release notes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import opsflow

PUBLIC_NAMES = ["AppView", "EventView", "LayerView", "MemberView", "Node", "StackView"]


def test_the_names_that_recipes_import_are_exactly_these() -> None:
    assert opsflow.__all__ == PUBLIC_NAMES


def test_every_public_name_can_be_imported_and_is_documented() -> None:
    for name in PUBLIC_NAMES:
        assert getattr(opsflow, name).__doc__, f"opsflow.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'Nodes'"):
        _ = opsflow.Nodes  # type: ignore[attr-defined]


def test_importing_opsflow_imports_nothing_heavy() -> None:
    program = (
        "import sys, opsflow; print(*sorted({'pydantic', 'pyinfra', 'paramiko', 'sqlalchemy'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


def test_there_is_one_console_script() -> None:
    scripts = {
        script.name: script.value for script in entry_points(group="console_scripts") if script.name == "opsflow"
    }
    assert scripts == {"opsflow": "opsflow.cli.main:main"}
