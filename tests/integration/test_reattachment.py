"""A connection that is lost in the middle of a run, and a controller that is killed: what was done is read back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from engine_hosts import CLOCK, Fleet, Running, add_user, open_fleet, recipe_process, statuses, until
from relay import Relay

from opsflow.engine import PyinfraEngine, session
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult, HostStatus
from opsflow.ports import HostEvent, OutputReceived, PhaseChanged
from opsflow.store.keep import RamKeep

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with open_fleet(tmp_path_factory.mktemp("lost"), "lost") as fleet:
        yield fleet


@pytest.fixture
def host(fleet: Fleet) -> Machine:
    machine = fleet._machines[0]
    fleet.shell(machine, "rm -rf /srv/*; mkdir -p /srv")
    return machine


@pytest.fixture
def relay(host: Machine) -> Iterator[Relay]:
    with Relay(host.address or "", host.port) as relay:
        yield relay


def through(relay: Relay, machine: Machine) -> Machine:
    return machine.model_copy(update={"address": "127.0.0.1", "port": relay.port})


def there(fleet: Fleet, machine: Machine, path: str) -> bool:
    return fleet.shell(machine, f"test -e {path} && echo yes || true") == "yes\n"


def begun(fleet: Fleet, machine: Machine, run: Running | None = None) -> None:
    until(lambda: there(fleet, machine, "/srv/begun") or (run is not None and run.done))
    assert run is None or not run.done, run.result()


def log(fleet: Fleet, machine: Machine) -> list[str]:
    return fleet.shell(machine, "cat /srv/log 2>/dev/null || true").split()


def heard(events: list[HostEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, OutputReceived))


def phases(events: list[HostEvent]) -> list[str]:
    return [event.phase for event in events if isinstance(event, PhaseChanged)]


SLOW = """
def setup(node):
    server.shell(name="First", commands="echo first >>/srv/log")
    slow = "echo a >>/srv/log; echo one; touch /srv/begun; sleep {0}; echo two; echo b >>/srv/log; sleep 0.2; exit {1}"
    server.shell(name="Slow", commands=[slow, "echo c >>/srv/log"])
    server.shell(name="Next", commands="echo next >>/srv/log")
"""
READS = """
from pyinfra.facts.server import Command

def setup(node):
    host.get_fact(Command, command="touch /srv/reading; sleep 3; echo value")
    server.shell(name="Ran", commands="echo ran >>/srv/log")
"""
ONCE = ["first", "a", "b", "c", "next"]


class TestALostConnection:
    def test_reset_in_the_middle_of_a_command(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        run = fleet.start(through(relay, host), SLOW.format(2, 0))
        begun(fleet, host, run)
        until(lambda: heard(fleet.events) == b"one\n" or run.done)  # what is on its way is lost
        relay.reset()
        result = run.result(20)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE
        slow = result.operations[1].commands[0]
        assert (slow.exit_code, slow.detail) == (
            0, "the connection was lost while it ran; how it ended was read back from the host"
        )  # fmt: skip
        assert slow.stdout == "one\ntwo\n"
        assert "reconnecting" in phases(fleet.events)

    def test_the_command_fails_after_that(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        run = fleet.start(through(relay, host), SLOW.format(1, 7))
        begun(fleet, host, run)
        relay.reset()
        result = run.result(20)
        assert (result.status, statuses(result)) == (HostStatus.FAILED, ["changed", "failed", "not_run"])
        assert result.detail == "operation 'Slow' failed: exit code 7"
        assert log(fleet, host) == ["first", "a", "b"]

    def test_again_and_again(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        """It is lost while the command runs, then while it is waited for."""
        run = fleet.start(through(relay, host), SLOW.format(4, 0))
        begun(fleet, host, run)
        for _ in range(3):
            before = relay.count
            relay.reset()
            until(lambda before=before: relay.count > before)
            CLOCK.sleep(0.3)
        result = run.result(30)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE

    @pytest.mark.parametrize("how", ["reset", "abandon"])
    def test_before_the_first_command_the_old_shell_begins_nothing_any_more(
        self, fleet: Fleet, host: Machine, relay: Relay, how: str
    ) -> None:
        """It has no run record yet, and does not notice: its script is complete, and it reads facts."""
        engine, fleet.engine = fleet.engine, PyinfraEngine([fleet.recipes], CLOCK, keep=RamKeep())
        try:
            recipe = fleet.write(READS)
            job = fleet.job(through(relay, host), recipe)
            assert fleet.engine.run(job, fleet.events.append, threading.Event()).ok
            fleet.shell(host, "rm -f /srv/*")
            job = replace(job, run="2", command="2-1")
            run = Running(lambda: fleet.engine.run(job, fleet.events.append, threading.Event()))
            until(lambda: there(fleet, host, "/srv/reading") or run.done)
            getattr(relay, how)()
            result = run.result(30)
        finally:
            fleet.engine.close()
            fleet.engine = engine
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"]), result.error
        assert log(fleet, host) == ["ran"]

    def test_frozen_and_thawed(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        """A connection that is frozen for less time than it takes to notice goes on as if nothing had been."""
        run = fleet.start(through(relay, host), SLOW.format(1, 0))
        begun(fleet, host, run)
        relay.freeze()
        CLOCK.sleep(3)
        relay.thaw()
        result = run.result(20)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE

    def test_the_host_does_not_know(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        """Only our side is cut: for the host's SSH server the old connection stands, and nobody reads there."""
        run = fleet.start(through(relay, host), SLOW.format("1; seq 900000", 0))
        begun(fleet, host, run)
        relay.abandon()
        result = run.result(30)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE
        assert result.operations[1].commands[0].stdout.endswith("900000\ntwo\n")

    def test_its_limit_counts_from_its_beginning(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        run = fleet.start(through(relay, host), SLOW.format(300, 0), timeouts={"command": 4})
        begun(fleet, host, run)
        relay.reset()
        result = run.result(30)
        assert (result.status, result.detail) == (
            HostStatus.FAILED, "operation 'Slow' failed: timed out after 4 s; ended on the host"
        )  # fmt: skip
        fleet.shell(host, "! pgrep -f 'sleep 300'")

    def test_cancelled_while_it_is_waited_for(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        cancel = threading.Event()
        run = fleet.start(through(relay, host), SLOW.format(300, 0), cancel)
        begun(fleet, host, run)
        relay.reset()
        until(lambda: "waiting" in phases(fleet.events))
        cancel.set()
        result = run.result(20)
        assert (result.status, result.detail) == (HostStatus.CANCELLED, "cancelled; ended on the host")
        fleet.shell(host, "! pgrep -f 'sleep 300'")

    def test_nobody_is_there_any_more(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        run = fleet.start(through(relay, host), SLOW.format(3, 0), timeouts={"connect": 1})
        begun(fleet, host, run)
        relay.close()
        result = run.result(20)
        assert (result.status, statuses(result)) == (HostStatus.UNREACHABLE, ["changed", "failed", "not_run"])
        assert "could not be made again" in result.detail
        assert result.operations[1].commands[0].detail == "the connection was lost while it ran"
        CLOCK.sleep(3)
        assert log(fleet, host) == ["first", "a", "b"], "what runs comes to its end, and nothing after it"

    def test_a_result_that_is_not_wholly_known_decides_nothing(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        run = fleet.start(
            through(relay, host),
            """
            def setup(node):
                op = server.shell(name="Talk", commands="echo one; touch /srv/begun; sleep 1; echo two")
                server.shell(name="Decide", commands="touch /srv/wrong", _if=lambda: "one" in op.stdout)
            """,
        )
        begun(fleet, host, run)
        relay.reset()
        result = run.result(20)
        assert result.status is HostStatus.FAILED
        assert "this output is not known" in result.error
        assert not there(fleet, host, "/srv/wrong")

    def test_as_another_user(self, fleet: Fleet, host: Machine, relay: Relay) -> None:
        user = add_user(fleet, host, "lostdev")
        text = SLOW.format(2, 0).replace("commands=", "_sudo=True, commands=")
        run = fleet.start(through(relay, user), text)
        begun(fleet, host, run)
        relay.reset()
        result = run.result(20)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE


def killed(fleet: Fleet, machine: Machine, recipe: str, **more: object) -> None:
    """A controller in a process of its own, which is killed in the middle of a run."""
    process = recipe_process(fleet, machine, recipe, (), run="1", command="1.1", epoch=1, **more)
    begun(fleet, machine)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def gone(fleet: Fleet, machine: Machine, recipe: str, **more: Any) -> None:
    """For the host the same, and quicker: its controller goes away in the middle of a run and does not come back."""
    values = {"run": "1", "command": "1.1", "epoch": 1, "timeouts": {"connect": 0.1}}
    with Relay(machine.address or "", machine.port) as relay:
        job = fleet.job(through(relay, machine), recipe, **(values | more))
        run = Running(lambda: fleet.engine.run(job, lambda event: None, threading.Event()))
        begun(fleet, machine, run)
        relay.close()
        assert run.result(20).status is HostStatus.UNREACHABLE


def resumed(fleet: Fleet, machine: Machine, recipe: str, number: int = 2, **more: Any) -> HostResult:
    """The next controller, with the same recipe."""
    resumes = tuple(f"{before}.1" for before in range(number - 1, 0, -1))
    values = {"run": str(number), "command": f"{number}.1", "epoch": number, "resumes": resumes}
    fleet.events = []
    job = fleet.job(machine, recipe, **(values | more))
    result: HostResult = Running(lambda: fleet.engine.run(job, fleet.events.append, threading.Event())).result(60)
    return result


FREEZE = "(sleep 0.2; kill -STOP $(pgrep -x sshd); sleep {0}; kill -CONT $(pgrep -x sshd)) >/dev/null 2>&1 </dev/null &"
"""Its kernel still acknowledges what it is sent."""


def test_a_shell_that_was_ended_between_two_runs_is_replaced(fleet: Fleet, host: Machine) -> None:
    text = """
        def setup(node):
            server.shell(name="Ran", commands="echo ran >>/srv/log")
    """
    assert fleet.run(host, text).ok
    fleet.shell(host, "kill -9 $(cat /run/opsflow.*/by)")
    result = fleet.run(host, text, command="2-1")
    assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"]), result.error
    assert log(fleet, host) == ["ran", "ran"]


class TestAFrozenHost:
    @pytest.fixture(autouse=True)
    def impatient(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(session, "KEEPALIVE", 1)
        monkeypatch.setattr(session, "SILENCE", 1.5)
        fleet.rest()  # connections that are there already ask as seldom as usual
        yield
        fleet.rest()

    def test_it_thaws(self, fleet: Fleet, host: Machine) -> None:
        run = fleet.start(host, SLOW.format(1, 0))
        begun(fleet, host, run)
        fleet.shell(host, FREEZE.format(5))
        result = run.result(40)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE
        assert "reconnecting" in phases(fleet.events)

    def test_it_does_not(self, fleet: Fleet, host: Machine) -> None:
        run = fleet.start(host, SLOW.format(1, 0), timeouts={"connect": 1, "authentication": 1})
        begun(fleet, host, run)
        fleet.shell(host, FREEZE.format(12))
        result = run.result(12)
        assert result.status is HostStatus.UNREACHABLE
        assert "could not be made again" in result.detail
        assert result.detail.count("could not be made again") == 1
        # Only sshd was frozen: what the host had been told went on.
        until(lambda: log(fleet, host) == ONCE)


class TestAKilledController:
    @pytest.fixture(autouse=True)
    def records(self, fleet: Fleet, host: Machine) -> None:
        fleet.shell(host, "rm -rf /run/opsflow-*")

    def test_a_command_that_still_runs_is_waited_for(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(3, 0), "slow_good")
        killed(fleet, host, recipe)
        result = resumed(fleet, host, recipe)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ONCE
        assert result.resumed == (
            "'First': done in run 1, whose controller died; not run again; "
            "'Slow': done in run 1, whose controller died; not run again"
        )
        assert [operation.detail != "" for operation in result.operations] == [True, True, False]
        assert "waiting" in phases(fleet.events)
        assert result.operations[1].commands[0].detail == "it ended in run 1, whose controller had died"

    def test_one_that_fails_then(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(1, 5), "slow_bad")
        gone(fleet, host, recipe)
        result = resumed(fleet, host, recipe)
        assert (result.status, statuses(result)) == (HostStatus.FAILED, ["changed", "failed", "not_run"])
        assert result.operations[1].exit_code == 5
        assert log(fleet, host) == ["first", "a", "b"]

    def test_one_that_has_ended_long_ago(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(1, 0), "slow_past")
        gone(fleet, host, recipe)
        until(lambda: "b" in log(fleet, host))
        CLOCK.sleep(0.5)
        result = resumed(fleet, host, recipe)
        assert (result.status, log(fleet, host)) == (HostStatus.OK, ONCE)

    def test_killed_twice(self, fleet: Fleet, host: Machine) -> None:
        text = """
            def setup(node):
                for n in range(4):
                    server.shell(name=f"Step {n}", commands=f"echo {n} >>/srv/log; touch /srv/begun; sleep 1")
        """
        recipe = fleet.write(text, "twice")
        gone(fleet, host, recipe)
        fleet.shell(host, "rm /srv/begun")
        gone(fleet, host, recipe, run="2", command="2.1", epoch=2, resumes=("1.1",))
        result = resumed(fleet, host, recipe, 3)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 4), result.error
        assert log(fleet, host) == ["0", "1", "2", "3"]

    def test_what_changed_is_still_a_change(self, fleet: Fleet, host: Machine) -> None:
        """The service is restarted for a file that was written by the run that died."""
        text = """
            from io import StringIO
            def setup(node):
                config = files.put(name="Config", src=StringIO("x"), dest="/srv/config")
                server.shell(name="Slow", commands="touch /srv/begun; sleep 1")
                server.shell(name="Restart", commands="echo restart >>/srv/log", _if=config.did_change)
        """
        recipe = fleet.write(text, "change")
        gone(fleet, host, recipe)
        result = resumed(fleet, host, recipe)
        assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
        assert log(fleet, host) == ["restart"]

    def test_another_recipe_is_planned_anew_from_where_it_differs(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(1, 0), "differs")
        gone(fleet, host, recipe)
        until(lambda: "b" in log(fleet, host))
        fleet.write(SLOW.format(0, 0).replace('"echo c ', '"echo other '), "differs")
        result = resumed(fleet, host, recipe)
        assert result.status is HostStatus.OK, result.error
        assert log(fleet, host) == ["first", "a", "b", "a", "b", "other", "next"]
        assert "planned anew" in result.operations[1].detail

    def test_a_host_that_was_restarted_meanwhile(self, fleet: Fleet, host: Machine) -> None:
        """Its record says that it is of another boot: nothing runs there, whatever has that process id."""
        recipe = fleet.write(SLOW.format(1, 0), "reboot")
        gone(fleet, host, recipe)
        until(lambda: "b" in log(fleet, host))
        CLOCK.sleep(0.5)
        fleet.shell(host, "cd /run/opsflow-0; sed -i '/^e 1 /d; s/[0-9a-f-]\\{36\\}/another-boot/' *")
        result = resumed(fleet, host, recipe)
        assert result.status is HostStatus.OK, result.error
        assert log(fleet, host) == ["first", "a", "b", "a", "b", "c", "next"]
        assert "broken off in run 1" in result.operations[1].detail

    def test_no_record(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(1, 0), "norecord")
        gone(fleet, host, recipe)
        until(lambda: "b" in log(fleet, host))
        fleet.shell(host, "rm -rf /run/opsflow-*")
        result = resumed(fleet, host, recipe)
        assert (result.status, result.resumed) == (HostStatus.OK, "")

    def test_a_command_past_its_limit(self, fleet: Fleet, host: Machine) -> None:
        recipe = fleet.write(SLOW.format(300, 0).replace('name="Slow"', 'name="Slow", _timeout=1'), "limit")
        gone(fleet, host, recipe)
        result = resumed(fleet, host, recipe)
        fleet.shell(host, "! pgrep -f 'sleep 300'")
        assert result.status is HostStatus.FAILED
        assert "broken off in run 1" in result.operations[1].detail

    def test_a_full_disk_moves_the_record(self, fleet: Fleet, host: Machine) -> None:
        fleet.shell(host, "mkdir -p /run/opsflow-0 && chmod 700 /run/opsflow-0")
        fleet.shell(host, "mount -t tmpfs -o size=4k,mode=700 full /run/opsflow-0")
        try:
            text = SLOW.format(1, 0).replace(
                '"echo first >>/srv/log"', '["cat /dev/zero >/run/opsflow-0/zero || true", "echo first >>/srv/log"]'
            )
            recipe = fleet.write(text, "full")
            gone(fleet, host, recipe)
            result = resumed(fleet, host, recipe)
            assert (result.status, statuses(result)) == (HostStatus.OK, ["changed"] * 3), result.error
            assert log(fleet, host) == ONCE
        finally:
            fleet.shell(host, "umount /run/opsflow-0; rm -rf /dev/shm/opsflow-0")
