"""What the planner caches around pyinfra is what pyinfra itself would have worked out."""

from __future__ import annotations

import subprocess
import sys

COMPARE = """
import pyinfra.api.arguments as arguments, pyinfra.api.inventory as inventory
from opsflow.engine.adapter import cache_constants
before = arguments.all_global_arguments(), inventory.get_all_connectors(), inventory.get_execution_connectors()
cache_constants()
after = arguments.all_global_arguments(), inventory.get_all_connectors(), inventory.get_execution_connectors()
assert before == after
assert arguments.all_global_arguments() is after[0]
print("equal")
"""


def test_cached_values_equal_the_originals() -> None:
    # In a process of its own: the cache belongs to planner processes, not to this one.
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=False)
    assert done.stdout == "equal\n", done.stderr
