"""Hosts: one for a file of tests that needs no more, and the twins of the differential suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from differential_sources import write_sources
from differential_twins import RECORD, Twins
from engine_hosts import Fleet, open_fleet

from opsflow.model.machine import Machine


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with open_fleet(tmp_path_factory.mktemp("hosts"), "one") as fleet:
        yield fleet


@pytest.fixture(scope="module")
def host(fleet: Fleet) -> Machine:
    return fleet._machines[0]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Two fresh hosts for each file of tests."""
    directory = tmp_path_factory.mktemp("twins")
    with open_fleet(directory) as fleet:
        write_sources(fleet.recipes)
        both = Twins(fleet, directory)
        try:
            yield both
            if RECORD:
                both.compare_everything()
        finally:
            both.close()
