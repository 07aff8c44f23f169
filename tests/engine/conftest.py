from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_doubles import SHELLS, Host, Recipes, open_host

from opsflow.engine.pool import PlannerPool


@pytest.fixture(scope="module")
def pool() -> Iterator[PlannerPool]:
    pool = PlannerPool(timeout=20)
    yield pool
    pool.close()


@pytest.fixture
def recipes(tmp_path: Path, pool: PlannerPool) -> Recipes:
    return Recipes(tmp_path / "recipes", pool)


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with open_host(SHELLS[request.param], tmp_path) as host:
        yield host


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Host]:
    with open_host(SHELLS["dash"], tmp_path) as host:
        yield host
