"""The same recipes on twin hosts, once with the pyinfra CLI and once with opsflow: same files, same outcomes.

`make differential` tries many more interruptions and random programs, and writes docs/differential.md.
"""

from __future__ import annotations

import os

import differential_files
import differential_server
import pytest
from differential_twins import RESET, Case, Twins

pytestmark = pytest.mark.sandbox

INTERRUPTIONS = int(os.environ.get("OPSFLOW_DIFFERENTIAL_INTERRUPTIONS", "1"))
CASES = [*differential_files.CASES, *differential_server.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_from_every_state(twins: Twins, case: Case) -> None:
    twins.case(case, INTERRUPTIONS)


@pytest.mark.parametrize("name", differential_server.FAILURES)
def test_failures(twins: Twins, name: str) -> None:
    twins.user = "root"
    twins.both(RESET)
    body = f"{differential_server.FAILURES[name]}\nserver.shell(commands='touch /srv/diff/after')"
    outcomes = twins.run(body, f"failure: {name}", "failing")
    assert {"failed", "ignored"} & set(outcomes)


@pytest.mark.parametrize("case", [differential_server.CRON, differential_server.SHELL], ids=lambda case: case.name)
def test_from_nothing_once_more(twins: Twins, case: Case) -> None:
    """The facts are those of the first time, and so may be the plan; what that left in /tmp must not matter."""
    twins.again(case)
