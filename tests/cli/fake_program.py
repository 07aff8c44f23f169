"""``opsflow`` as a process of its own, with fake machines (kept in a file) and a fake engine.

``FAKE_RULES`` is JSON: a list of [rule, instance, recipe], such as ["hang", "app1", "web.setup"].
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from cli_world import FakeSources

from opsflow.cli import main
from opsflow.clock import SystemClock
from opsflow.engine.fake import FakeEngine
from opsflow.providers.compute.fake import FakeProvider
from opsflow.wiring import PROVIDERS, Adapters

CLOCK = SystemClock()


def adapters() -> Adapters:
    """Fakes as the rules say."""
    engine = FakeEngine(CLOCK)
    for rule, instance, recipe in json.loads(os.environ.get("FAKE_RULES", "[]")):
        getattr(engine, rule)(instance, recipe)
    provider = FakeProvider(CLOCK, Path(os.environ["FAKE_MACHINES"]))
    return Adapters(
        sources=FakeSources,
        engine=lambda paths, clock: engine,
        providers={**PROVIDERS, "fake": lambda stack, project: provider},
    )


if __name__ == "__main__":
    main.main(adapters())
