"""Random recipes from random states, with changes behind the tools' backs: the same with pyinfra and with opsflow.

Each program runs four times: as it begins, again, after a change that neither tool was told of, and again.
OPSFLOW_DIFFERENTIAL=300 tries that many programs instead of a few.
"""

from __future__ import annotations

import os

import pytest
from differential_programs import BEGINNINGS, BEHIND, behind_their_backs, programs
from differential_twins import RESET, Twins
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.sandbox

RANDOM_PROGRAMS = int(os.environ.get("OPSFLOW_DIFFERENTIAL", "8"))


@settings(
    max_examples=RANDOM_PROGRAMS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes; programs are short
    print_blob=True,
)
@given(program=programs(), beginning=BEGINNINGS, changes=BEHIND, seed=st.integers(0, 50))
def test_random_programs(twins: Twins, program: str, beginning: str, changes: list[str], seed: int) -> None:
    twins.user = "root"
    twins.both(f"{RESET}\nrm -rf /home/app/.ssh\n{beginning}")
    twins.run(program, "random", "random")
    twins.run(program, "random", "converged")
    twins.both(behind_their_backs(changes, seed))
    twins.run(program, "random", "drifted")
    twins.run(program, "random", "converged")
