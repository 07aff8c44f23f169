from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_doubles import Recipes

from opsflow.engine.pool import PlannerPool


@pytest.fixture(scope="module")
def pool() -> Iterator[PlannerPool]:
    pool = PlannerPool(timeout=20)
    yield pool
    pool.close()


@pytest.fixture
def recipes(tmp_path: Path, pool: PlannerPool) -> Recipes:
    return Recipes(tmp_path / "recipes", pool)
