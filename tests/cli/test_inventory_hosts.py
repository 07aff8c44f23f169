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


# ------------------------------------------------------------------------------------------------ another machine


OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (f"{{address: 192.0.2.9, host_key: {KEY}}}", "its machine changed: 192.0.2.1 -> 192.0.2.9"),
        (
            f"{{address: 192.0.2.1, port: 2222, host_key: {KEY}}}",
            "its machine changed: 192.0.2.1 port 22 -> 192.0.2.1 port 2222",
        ),
        (f"{{address: 192.0.2.1, host_key: {OTHER}}}", "its machine changed: 192.0.2.1 has another host key"),
    ],
)
def test_another_machine_is_used_by_nobody_until_up_set_it_up(fleet: Program, now: str, why: str) -> None:
    write_inventory(fleet, now)
    fleet.engine.jobs.clear()
    assert why in fleet("status", "shop").out
    plan = fleet("plan", "shop", "--json").json["steps"]
    assert [(step["kind"], step["reason"]) for step in plan if step["instance"] == "app1"][:2] == [
        ("start", why), ("setup", why),
    ]  # fmt: skip
    for _ in range(2):
        answer = fleet("exec", "shop", "--only", "app1", "--", "true")
        assert (answer.code, why in answer.err) == (1, True)
        assert fleet("facts", "shop", "--only", "app1").code == 1
        answer = fleet("run", "shop", "configure", "--only", "app1")
        assert (answer.code, why in answer.err) == (64, True)
    assert fleet.engine.commands == []
    assert fleet.engine.jobs == []
    assert fleet("ssh", "shop", "app1").code == 64
    assert fleet("up", "shop", "-y").code == 0
    assert ("app1", "web.setup") in fleet.engine.ran[-4:]
    assert fleet("exec", "shop", "--", "true").code == 0
    assert fleet("plan", "shop", "--detailed-exitcode").code == 0


def test_up_after_another_machine_was_written_down_needs_no_look_in_between(fleet: Program) -> None:
    write_inventory(fleet, f"{{address: 192.0.2.9, host_key: {KEY}}}")
    assert fleet("up", "shop", "-y").code == 0
    assert {job.machine.address for job in fleet.engine.jobs[-4:] if job.node.name == "app1"} == {"192.0.2.9"}


def test_what_does_not_make_it_another_machine(fleet: Program) -> None:
    write_inventory(fleet, f"{{address: 192.0.2.1, host_key: [{OTHER}, {KEY} root@app1], rack: b}}")
    assert "start" not in fleet("plan", "shop").out
    assert fleet("exec", "shop", "--only", "app1", "--", "true").code == 0


def test_another_key_after_none_was_known_is_another_machine(fleet: Program) -> None:
    write_inventory(fleet, "{address: 192.0.2.1}")
    fleet("run", "shop", "configure")
    write_inventory(fleet, f"{{address: 192.0.2.1, host_key: {OTHER}}}")
    answer = fleet("run", "shop", "configure", "--only", "app1")
    assert answer.code == 64
    assert "another host key" in answer.err


# ------------------------------------------------------------------------------------------------ saved plans


@pytest.fixture
def fresh(opsflow: Program) -> Program:
    """A stack of two inventory hosts that nobody has brought up."""
    (opsflow.root / "stacks/shop.yml").write_text(STACK)
    write_inventory(opsflow)
    return opsflow


@pytest.mark.parametrize(
    "now",
    [
        f"{{address: 192.0.2.9, host_key: {KEY}}}",
        f"{{address: 192.0.2.1, host_key: {OTHER}}}",
        f"{{address: 192.0.2.1, host_key: {KEY}, user: admin}}",
        f"{{address: 192.0.2.1, host_key: {KEY}, rack: b}}",
    ],
)
def test_a_saved_plan_is_refused_when_the_inventory_says_something_else_of_a_host(fresh: Program, now: str) -> None:
    file = str(fresh.root / "plan.json")
    assert fresh("plan", "shop", "--out", file).code == 0
    write_inventory(fresh, now)
    answer = fresh("up", "shop", "--plan", file)
    assert answer.code == 65
    assert "the machine of app1 (192.0.2.1 port 22, up, " in answer.err
    assert "app2" not in answer.err.partition("out of date")[2]
    write_inventory(fresh)
    assert fresh("up", "shop", "--plan", file).code == 0


def test_a_plan_of_a_new_stack_without_its_inventory_is_an_error(fresh: Program) -> None:
    inventory(fresh).unlink()
    assert fresh("plan", "shop").code == 65
