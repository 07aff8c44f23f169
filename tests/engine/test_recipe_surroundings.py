"""What surrounds a recipe: pyinfra's host data and groups, names of operations, things that it must not do."""

from __future__ import annotations

import subprocess
import sys

from engine_doubles import Recipes, scripts, snapshot


def test_inventory_variables_and_groups_reach_pyinfra_and_attributes_win(recipes: Recipes) -> None:
    recipes.write(
        "data.py",
        """
        def setup(node):
            server.shell(commands=f"{host.data.site} {host.data.tier} {sorted(host.groups)}")
            server.shell(commands=str(host.data.get("ssh_port")))
        """,
    )
    node = snapshot()
    told = {"variables": {"site": "zurich", "tier": "gold", "ssh_port": "22"}, "groups": ["rack1"]}
    mine = [m.model_copy(update={"data": told}) if m.name == node.name else m for m in node.members]
    node = node.model_copy(update={"members": tuple(mine), "attributes": {"tier": "silver"}})
    plan = recipes.settle("data.setup", node=node)
    groups = sorted({*node.layers, "rack1"})
    assert scripts(plan) == [[f"zurich silver {groups}"], ["None"]]


def test_operations_without_a_name_are_told_apart(recipes: Recipes) -> None:
    recipes.write(
        "unnamed.py",
        """
        def setup(node):
            for each in ("a", "b"):
                server.shell(commands=f"echo {each}")
            server.shell(commands="x" * 100, _if=lambda: True)
            server.shell(name="Named", commands="c")
        """,
    )
    names = [operation.name for operation in recipes.settle("unnamed.setup").operations]
    assert names[:2] == ["server.shell (commands=echo a)", "server.shell (commands=echo b)"]
    assert names[2] == f"server.shell (commands={'x' * 31}...)"
    assert names[3] == "Named"


def test_commands_on_the_controller_are_refused(recipes: Recipes) -> None:
    mark = recipes.directory / "ran"
    recipes.write("here.py", f"from pyinfra import local\ndef setup(node):\n    local.shell('touch {mark}')\n")
    failure = recipes.plan("here.setup").failure
    assert failure is not None
    assert failure.message.startswith("local.shell and local.include are not supported")
    assert failure.line == 5
    assert not mark.exists()


def test_half_a_character_in_texts(recipes: Recipes) -> None:
    recipes.write("half.py", 'def setup(node):\n    raise ValueError("odd\\udcff")\n')
    failure = recipes.plan("half.setup").failure
    assert failure is not None
    assert failure.message == "ValueError: odd\\udcff"
    recipes.write("half2.py", 'def setup(node):\n    server.shell(name="odd\\udcff", commands="true")\n')
    assert recipes.settle("half2.setup").operations[0].name == "odd\\udcff"


LOW = """
import resource, sys
from opsflow.engine.messages import PlanRequest
from opsflow.engine.pool import PlannerPool
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
pool = PlannerPool()
print(pool.plan(PlanRequest.model_validate_json(sys.stdin.read())).failure)
pool.close()
"""


def test_lower_limits_of_the_user_are_kept(recipes: Recipes) -> None:
    recipes.write("low.py", "def setup(node):\n    server.shell(commands='true')\n")
    asked = recipes.request("low.setup").model_dump_json()
    done = subprocess.run([sys.executable, "-c", LOW], input=asked, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("None\n", "")
