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


class HurriedClock(SystemClock):
    """Time passes faster, so that nobody waits for bursts of configure to settle."""

    FACTOR = 20

    def monotonic(self) -> float:
        """Seconds, more of them."""
        return super().monotonic() * self.FACTOR

    def sleep(self, seconds: float) -> None:
        """Not that long."""
        super().sleep(seconds / self.FACTOR)


CLOCK = HurriedClock()


def adapters(machines: Path, rules: list[tuple[str, str, str]]) -> Adapters:
    """Fakes as the rules say."""
    engine = FakeEngine(CLOCK)
    for rule, instance, recipe in rules:
        getattr(engine, rule)(instance, recipe)
    provider = FakeProvider(CLOCK, machines)
    return Adapters(
        sources=FakeSources,
        engine=lambda paths, clock, state: engine,
        providers={**PROVIDERS, "fake": lambda stack, project: provider},
        clock=CLOCK,
    )


if __name__ == "__main__":
    main.main(adapters(Path(os.environ["FAKE_MACHINES"]), json.loads(os.environ["FAKE_RULES"])))
