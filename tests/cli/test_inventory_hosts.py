"""The program on a stack of inventory hosts; the hosts themselves are not reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_world import Program

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
STACK = """\
stack: shop
compute: {provider: static}
layers:
  app:
    recipes: [web]
    instances: {app1: {}, app2: {}}
"""


def write_inventory(program: Program, app1: str = f"{{address: 192.0.2.1, host_key: {KEY}}}") -> None:
    file = program.root / "inventory/hosts.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"hosts:\n  app1: {app1}\n  app2: {{address: 192.0.2.2, host_key: {KEY}}}\n")


@pytest.fixture
def fleet(opsflow: Program) -> Program:
    """A stack of two inventory hosts that is up."""
    (opsflow.root / "stacks/shop.yml").write_text(STACK)
    write_inventory(opsflow)
    answer = opsflow("up", "shop", "-y")
    assert answer.code == 0, answer.err
    return opsflow


def inventory(program: Program) -> Path:
    return program.root / "inventory/hosts.yml"


def test_a_missing_inventory_is_an_error_of_plan_as_of_up(fleet: Program) -> None:
    inventory(fleet).unlink()
    assert fleet("up", "shop", "-y").code == 65
    answer = fleet("plan", "shop")
    assert answer.code == 65
    assert "hosts.yml" in answer.err
    status = fleet("status", "shop", "--json")
    assert status.code == 0
    assert "hosts.yml" in status.json["note"]
