"""Where a script for the host ends, on real hosts: functions of recipes, files that come here, reboots."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_hosts import CLOCK, Fleet, Running, add_user, statuses, until

from opsflow.model.machine import Machine
from opsflow.model.result import HostStatus
from opsflow.ports import Mode, OutputReceived

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def dev(fleet: Fleet, host: Machine) -> Machine:
    return add_user(fleet, host, "dev")


CALL = """
    from pathlib import Path
    from pyinfra.operations import python

    def setup(node):
        first = server.shell(name="First", commands=["echo begun >>/srv/{name}", "cat /srv/{name}"])
        seen = {{}}

        def look(mark, more):
            print("looking")
            with Path({log!r}).open("a") as log:
                log.write(mark + first.stdout + more)
            seen["lines"] = len(first.stdout_lines)
            {body}

        called = python.call(name="Look", function=look, mark="<", more=">"{arguments})
        server.shell(name="Yes", commands="echo yes", _if=lambda: seen.get("lines") == 1 and called.did_succeed())
        server.shell(name="No", commands="echo no", _if=lambda: "lines" not in seen)
        files.directory(name="Made before", path="/srv/{name}.late")
"""


class TestFunctions:
    def recipe(self, tmp_path: Path, name: str, body: str = "pass", arguments: str = "") -> str:
        return CALL.format(name=name, log=str(tmp_path / "log"), body=body, arguments=arguments)

    def test_one_runs_once_where_it_stands(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        result = fleet.run(host, self.recipe(tmp_path, "once"))
        assert result.error == ""
        assert statuses(result) == ["changed", "changed", "changed", "unchanged", "changed"]
        assert (tmp_path / "log").read_text() == "<begun>"
        assert result.operations[1].commands[0].command == "call setup.look"
        printed = b"".join(event.data for event in fleet.events if isinstance(event, OutputReceived))
        assert printed.count(b"looking") == 1

    def test_a_check_calls_nothing(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        result = fleet.run(host, self.recipe(tmp_path, "check"), mode=Mode.CHECK)
        assert statuses(result)[:2] == ["would_change", "maybe"]
        assert not (tmp_path / "log").exists()

    def test_an_exception_is_the_failure_of_its_operation(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        result = fleet.run(host, self.recipe(tmp_path, "broken", body="1 / 0"))
        assert (result.status, statuses(result)) == (HostStatus.FAILED, ["changed", "failed"] + ["not_run"] * 3)
        assert result.detail.startswith("operation 'Look' failed: ZeroDivisionError: division by zero (at ")
        assert ":16: 1 / 0)" in result.detail
        assert (tmp_path / "log").read_text() == "<begun>"

    def test_one_that_is_ignored_and_one_that_is_tried_again(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        result = fleet.run(host, self.recipe(tmp_path, "ignored", body="1 / 0", arguments=", _ignore_errors=True"))
        assert statuses(result) == ["changed", "ignored", "unchanged", "unchanged", "changed"]
        again = self.recipe(tmp_path, "again", body="1 / 0", arguments=", _retries=1, _retry_delay=0")
        assert statuses(fleet.run(host, again))[:2] == ["changed", "failed"]
        assert (tmp_path / "log").read_text() == "<begun>" * 3

    def test_what_it_cannot_do(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        result = fleet.run(host, self.recipe(tmp_path, "nested", body="server.shell(commands='touch /srv/nested')"))
        assert "an operation inside a function" in result.error
        fleet.shell(host, "test ! -s /srv/nested-file")

    def test_raising(self, fleet: Fleet, host: Machine) -> None:
        text = """
            from pyinfra.operations import python
            def setup(node):
                old = server.shell(commands="echo 1")
                python.raise_exception(ValueError, "too old", name="Stop", _if=lambda: old.stdout == "1")
                server.shell(commands="touch /srv/raised")
        """
        result = fleet.run(host, text)
        assert (statuses(result), result.detail) == (
            ["changed", "failed", "not_run"], "operation 'Stop' failed: ValueError: too old"
        )  # fmt: skip


class TestDownloads:
    def get(self, fleet: Fleet, machine: Machine, dest: Path, more: str = "", src: str = "/srv/there") -> list[str]:
        text = f"def setup(node):\n    files.get(src={src!r}, dest={str(dest)!r}{more})\n"
        result = fleet.run(machine, f"{text}    files.directory(path='/srv')\n")
        self.error = result.error
        return statuses(result)

    def test_a_file_comes_here(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        content = os.urandom(100_000)
        (fleet.recipes / "there").write_bytes(content)
        fleet.run(host, "def setup(node):\n    files.put(src='there', dest='/srv/there')\n")
        dest = tmp_path / "new" / "here"
        assert self.get(fleet, host, dest, ", create_local_dir=True") == ["changed", "unchanged"]
        assert (dest.read_bytes(), [file.name for file in dest.parent.iterdir()]) == (content, ["here"])
        assert self.get(fleet, host, dest) == ["unchanged", "unchanged"]
        assert self.get(fleet, host, dest, ", force=True") == ["changed", "unchanged"]
        dest.write_bytes(b"something else")
        dest.chmod(0o640)
        assert self.get(fleet, host, dest) == ["changed", "unchanged"]
        assert (dest.read_bytes(), dest.stat().st_mode & 0o777) == (content, 0o640)

    def test_a_relative_one_lies_beside_the_recipe(self, fleet: Fleet, host: Machine) -> None:
        fleet.shell(host, "echo text >/srv/there")
        assert self.get(fleet, host, Path("beside")) == ["changed", "unchanged"]
        assert (fleet.recipes / "beside").read_text() == "text\n"

    def test_with_privileges(self, fleet: Fleet, host: Machine, dev: Machine, tmp_path: Path) -> None:
        fleet.shell(host, "echo secret >/srv/mine; chmod 600 /srv/mine")
        assert self.get(fleet, dev, tmp_path / "a", src="/srv/mine") == ["failed", "not_run"]
        assert "Permission denied" in self.error
        assert self.get(fleet, dev, tmp_path / "a", ", _sudo=True", src="/srv/mine") == ["changed", "unchanged"]
        assert (tmp_path / "a").read_text() == "secret\n"

    def test_what_cannot_be(self, fleet: Fleet, host: Machine, tmp_path: Path) -> None:
        fleet.shell(host, "truncate -s 50000000 /srv/large")
        assert self.get(fleet, host, tmp_path / "large", src="/srv/large") == ["failed", "not_run"]
        assert "/srv/large: larger than 40000000 bytes" in self.error
        assert self.get(fleet, host, tmp_path / "none", src="/srv/none") == ["failed", "not_run"]
        assert "/srv/none" in self.error
        assert self.get(fleet, host, tmp_path / "no" / "directory") == ["failed", "not_run"]
        assert "cannot write" in self.error
        assert list(tmp_path.iterdir()) == []


REBOOT = """
    def setup(node):
        server.shell(name="Before", commands="echo before >>/srv/order")
        server.reboot(name="Reboot", delay={delay}, interval=0.2, reboot_timeout={timeout})
        server.shell(name="After", commands="echo after >>/srv/order")
"""


class TestReboots:
    """The stand-in asks the test to stop the machine and to start it again."""

    @pytest.fixture
    def machine(self, fleet: Fleet) -> Iterator[Machine]:
        (machine,) = fleet.create("boots")
        fleet.shell(machine, "printf '#!/bin/sh\\ntouch /srv/asked\\n' >/sbin/reboot; chmod 755 /sbin/reboot")
        yield machine
        fleet.terminate(machine)

    def test_the_run_goes_on_after_it(self, fleet: Fleet, machine: Machine) -> None:
        running = fleet.start(machine, REBOOT.format(delay=0.5, timeout=40))
        self.power_cycle(fleet, machine)
        result = running.result()
        assert (result.error, statuses(result)) == ("", ["changed"] * 3)
        assert fleet.shell(machine, "cat /srv/order") == "before\nafter\n"

    def test_one_that_never_happens(self, fleet: Fleet, machine: Machine) -> None:
        result = fleet.run(machine, REBOOT.format(delay=0, timeout=2))
        assert statuses(result) == ["changed", "failed", "not_run"]
        assert "did not come back from its reboot within 2 s" in result.error
        assert "it has not been booted again" in result.error

    def test_waiting_can_be_cancelled(self, fleet: Fleet, machine: Machine) -> None:
        cancel = threading.Event()
        started = CLOCK.monotonic()
        running: Running = fleet.start(machine, REBOOT.format(delay=60, timeout=60), cancel=cancel)
        until(lambda: fleet.shell(machine, "ls /srv").count("asked"))
        cancel.set()
        assert running.result().status is HostStatus.CANCELLED
        assert CLOCK.monotonic() - started < 30

    def power_cycle(self, fleet: Fleet, machine: Machine) -> None:
        until(lambda: fleet.shell(machine, "ls /srv").count("asked"))
        fleet.provider.stop(machine)
        fleet.provider.start(machine)
