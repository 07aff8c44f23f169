"""What a client may ask its agent to do, and how the engine is called for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opsflow.engine.agent import codec
from opsflow.ports import Engine


@dataclass(frozen=True, slots=True)
class Call:
    """One call that is carried out; each method returns the rest of its answer, as JSON."""

    engine: Engine
    members: Mapping[str, codec.Members]
    tell: Callable[[str], None]
    """Sends an event, as JSON."""
    cancel: threading.Event

    def run(self, job: Any) -> str:
        """Run a job; tells its events."""
        events = codec.EventsOut()
        found = codec.job_from(job, self.members)
        result = self.engine.run(found, lambda event: self.tell(events.text(event)), self.cancel)
        return events.result_text(result)

    def check(self, jobs: list[Any]) -> str:
        """Check jobs."""
        self.engine.check([codec.job_from(job, self.members) for job in jobs])
        return "null"

    def ready(self, host: Any, timeout: float) -> str:
        """Wait for a login."""
        machine, ssh = codec.host_from(host)
        return json.dumps(self.engine.wait_ready(machine, ssh, timeout, self.cancel))

    def exec(self, host: Any, command: str, timeout: float) -> str:
        """Run a command; tells its output."""
        machine, ssh = codec.host_from(host)

        def output(stream: str, data: bytes) -> None:
            self.tell(codec.output_text(stream, data))

        return str(self.engine.exec(machine, ssh, command, timeout=timeout, output=output, cancel=self.cancel))

    def facts(self, host: Any, names: list[str]) -> str:
        """Read facts."""
        machine, ssh = codec.host_from(host)
        return json.dumps(dict(self.engine.facts(machine, ssh, names)))


CALLS: Mapping[str, Callable[..., str]] = {
    "run": Call.run,
    "check": Call.check,
    "ready": Call.ready,
    "exec": Call.exec,
    "facts": Call.facts,
}
