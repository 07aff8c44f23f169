"""A host whose shell ends in the middle of a fact: an error, never an endless loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_doubles import LocalConnection

from opsflow.clock import SystemClock
from opsflow.engine import PyinfraEngine
from opsflow.engine.connections import Connections
from opsflow.errors import HostsUnreachable
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineState

MACHINE = Machine(id="m", token="t" * 8, state=MachineState.RUNNING, address="127.0.0.1")


class OneConnection(Connections):
    """Every machine is a shell on this machine."""

    def __init__(self, connection: LocalConnection) -> None:
        super().__init__(SystemClock())
        self._local = connection

    def borrow(self, *_: Any) -> Any:
        return self._local

    def give_back(self, _: Any) -> None: ...


def test_facts_of_a_host_that_goes_away(tmp_path: Path) -> None:
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    # Signal 0's group is the whole session of the host's shell.
    uname.write_text("#!/bin/sh\nkill -9 0\n")
    uname.chmod(0o755)
    argv = ["env", f"PATH={uname.parent}:/usr/bin:/bin", "sh"]
    engine = PyinfraEngine([tmp_path], SystemClock(), connections=OneConnection(LocalConnection(argv, tmp_path)))
    try:
        with pytest.raises(HostsUnreachable):
            engine.facts(MACHINE, Ssh(), ["server.Hostname"])
    finally:
        engine.close()
