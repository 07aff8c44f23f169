"""Every family of operations, on twin hosts: the same commands in the same order with pyinfra and with opsflow."""

from __future__ import annotations

import os

import differential_packages
import differential_services
import pytest
from differential_twins import Case, Twins

pytestmark = pytest.mark.sandbox

INTERRUPTIONS = int(os.environ.get("OPSFLOW_DIFFERENTIAL_INTERRUPTIONS", "0"))
CASES = [*differential_packages.CASES, *differential_services.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_from_every_state(twins: Twins, case: Case) -> None:
    twins.case(case, INTERRUPTIONS)
