"""Where opsflow keeps its state."""

from __future__ import annotations

import pytest
from cli_world import Program

from opsflow.errors import UsageError
from opsflow.wiring import find_root, open_project, require_root, whoami


def test_only_the_user_can_look_into_the_state(shop: Program) -> None:
    state = shop.root / ".opsflow"
    found = {path: path.stat().st_mode & 0o077 for path in (state, *state.iterdir())}
    assert {path.name for path, mode in found.items() if mode} == set()


def test_a_directory_that_others_can_enter_is_closed(opsflow: Program) -> None:
    (opsflow.root / ".opsflow").mkdir(mode=0o755)
    (opsflow.root / ".opsflow").chmod(0o755)
    assert opsflow("status", "shop").code == 0
    assert (opsflow.root / ".opsflow").stat().st_mode & 0o777 == 0o700


def test_state_that_cannot_be_kept_is_an_error_and_no_defect(opsflow: Program) -> None:
    (opsflow.root / ".opsflow").write_text("in the way")
    answer = opsflow("status", "shop")
    assert answer.code == 1
    assert "cannot keep state here: File exists" in answer.err
    assert "defect" not in answer.err


def test_the_root_is_the_nearest_directory_with_stacks(opsflow: Program) -> None:
    inner = opsflow.root / "a" / "b"
    inner.mkdir(parents=True)
    assert find_root(inner) == opsflow.root
    assert require_root(inner) == opsflow.root.resolve()
    with pytest.raises(UsageError, match="no opsflow project"):
        require_root(opsflow.root.parent)


def test_an_inventory_is_looked_for_in_its_folder_and_in_the_project(opsflow: Program) -> None:
    project = open_project(opsflow.root)
    stack = project.load("shop").stack
    assert project.inventory(stack) == opsflow.root / "inventory" / "hosts.yml"
    options = {"inventory": "elsewhere.ini"}
    named = stack.model_copy(update={"compute": stack.compute.model_copy(update={"options": options})})
    (opsflow.root / "elsewhere.ini").write_text("[web]\n")
    assert project.inventory(named) == opsflow.root / "elsewhere.ini"


def test_the_owner_of_the_lock_says_who_and_what_for() -> None:
    assert whoami("opsflow up shop").endswith(": opsflow up shop")
    assert " pid " in whoami("x")
