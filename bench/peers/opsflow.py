"""opsflow: by itself, with a sibling known, and with warm connections."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import ClassVar

from bench.environment import opsflow
from bench.hosts import Host
from bench.meter import Command
from bench.peers.base import Peer, Phase

RECIPE = "twelve.setup"

STACK = """\
stack: bench
compute: {{provider: static}}
layers:
  measured: {{instances: {{{measured}}}}}
  sibling: {{instances: {{{spare}: {{}}}}}}
"""


class Opsflow(Peer):
    """``opsflow run`` with connections that it opens itself."""

    key: ClassVar[str] = "opsflow"
    title: ClassVar[str] = "opsflow"
    remembers: ClassVar[bool] = True

    def prepare(self) -> None:
        """A project that knows its hosts and has run nothing on them."""
        if not self._blank.exists():
            self._make(self.testbed.place(self._blank.name))
        shutil.copytree(self._blank, self.place, dirs_exist_ok=True)

    @property
    def _blank(self) -> Path:
        """The project as it is after `up`, the same for all peers of this family."""
        return self.testbed.directory / "opsflow-blank"

    def _make(self, project: Path) -> None:
        for name in ("stacks", "inventory"):
            (project / name).mkdir()
        measured = ", ".join(f"{host.name}: {{}}" for host in self.testbed.hosts)
        (project / "stacks/bench.yml").write_text(STACK.format(measured=measured, spare=self.testbed.spare.name))
        hosts = {"hosts": {host.name: entry(host) for host in self.testbed.everyone}}
        (project / "inventory/hosts.yml").write_text(json.dumps(hosts))
        self.do(opsflow(), "-C", str(project), "up", "bench", "-y")

    def forget(self) -> None:
        shutil.rmtree(self.place / ".opsflow")
        shutil.copytree(self._blank / ".opsflow", self.place / ".opsflow")

    def command(self) -> Command:
        return self.call(*self.run("measured"))

    def run(self, layer: str) -> list[str]:
        return [opsflow(), "run", "bench", RECIPE, "--layer", layer, "-y"]

    def round_trips(self) -> float | None:
        newest = json.loads(self.do(opsflow(), "runs", "list", "bench", "--limit", "1", "--json"))[0]["id"]
        shown = json.loads(self.do(opsflow(), "runs", "show", str(newest), "--timing", "--json"))
        return statistics.mean(float(host["round_trips"]) for host in shown["timing"]["instances"])


class OpsflowSibling(Opsflow):
    """A first run on hosts of which a sibling has had the recipe before."""

    key: ClassVar[str] = "opsflow-sibling"
    title: ClassVar[str] = "opsflow, sibling known"
    phases: ClassVar[tuple[Phase, ...]] = (Phase.FIRST,)

    def forget(self) -> None:
        super().forget()
        self.do(*self.run("sibling"))


class OpsflowWarm(Opsflow):
    """``opsflow run --warm``: the agent keeps connections and planners."""

    key: ClassVar[str] = "opsflow-warm"
    title: ClassVar[str] = "opsflow, warm"
    stays: ClassVar[bool] = True

    def missing(self) -> str:
        known = subprocess.run([opsflow(), "agent", "--help"], stdin=subprocess.DEVNULL, capture_output=True)
        return "" if known.returncode == 0 else "this opsflow has no agent"

    def prepare(self) -> None:
        super().prepare()
        self.resources.callback(self.do, opsflow(), "agent", "stop")
        self._start()

    def forget(self) -> None:
        self.do(opsflow(), "agent", "stop")
        super().forget()
        self._start()

    def _start(self) -> None:
        """An agent that knows nothing of the recipe, with a connection to every host."""
        self.do(opsflow(), "agent", "start", "--idle", "5h")
        self.do(opsflow(), "exec", "bench", "--warm", "--", "true")

    def run(self, layer: str) -> list[str]:
        return [*super().run(layer), "--warm"]


def entry(host: Host) -> dict[str, object]:
    """A host in opsflow's own inventory format."""
    return {"address": host.address, "port": host.port, "user": "root", "key": host.key, "host_key": host.host_key}
