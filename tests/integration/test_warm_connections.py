"""Connections that stay: a pool that respects what a real sshd takes, and an agent that keeps it between two calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_hosts import CLOCK, until
from sshd_here import Sshd, sshd
from warm_project import WarmProject, alive, warm_project

from opsflow.engine.connections import Connections
from opsflow.model.compute import Ssh, Timeouts

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProject]:
    with warm_project(tmp_path_factory.mktemp("warm"), "127.79.3.1") as project:
        yield project


@pytest.fixture
def project(set_up: WarmProject) -> Iterator[WarmProject]:
    """The project without an agent."""
    set_up.idle = ""
    yield set_up
    set_up.end_agent()


# ------------------------------------------------------------------------------------------------ the pool


def test_a_server_that_takes_two_logins_at_once_gets_all_twenty(tmp_path: Path) -> None:
    """Fault F14: and in at most twice the time that they take one after another where nothing is throttled."""
    with (
        sshd(tmp_path / "free", "127.79.1.1") as free,
        sshd(tmp_path / "tight", "127.79.1.2", "MaxStartups 2:100:2") as tight,
    ):
        ratios = []
        for _ in range(3):  # the machine may be busy for a moment
            ratios.append(twenty(tight, at_once=20) / twenty(free, at_once=1))
            if ratios[-1] <= 2:
                break
        assert min(ratios) <= 2, ratios
        assert "MaxStartups" in (tight.directory / "log").read_text()


def twenty(server: Sshd, *, at_once: int) -> float:
    """Seconds for twenty connections."""
    pool, cancel, began = Connections(CLOCK), threading.Event(), CLOCK.monotonic()
    with ThreadPoolExecutor(at_once) as threads:
        made = list(threads.map(lambda _: pool.borrow(server.machine, Ssh(), Timeouts(), cancel), range(20)))
    took = CLOCK.monotonic() - began
    assert all(connection.healthy for connection in made)
    for connection in made:
        pool.give_back(connection)
    pool.close()
    return took


def test_a_connection_that_died_while_idle_is_replaced(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd", "127.79.2.1") as server:
        pool, cancel = Connections(CLOCK), threading.Event()
        first = pool.borrow(server.machine, Ssh(), Timeouts(), cancel)
        pool.give_back(first)
        server.stop()
        server.start()
        second = pool.borrow(server.machine, Ssh(), Timeouts(), cancel)
        assert second is not first
        assert second.call("exit 7", 10) == 7
        pool.give_back(second)
        pool.close()


# ------------------------------------------------------------------------------------------------ the agent


def test_two_calls_share_a_connection_and_a_cold_one_has_its_own(project: WarmProject) -> None:
    before = project.logins
    project.good("run", "warm", "page.setup", "--warm")
    pid = project.pid
    assert "hello" in project.good("exec", "warm", "--", "echo", "hello").out
    assert project.good("facts", "warm", "server.Os", "--json").json["instances"][0]["facts"] == {"server.Os": "Linux"}
    assert project.logins == before + 1
    project.good("--cold", "exec", "warm", "--", "true")
    assert project.logins == before + 2
    (state,) = project.good("agent", "status", "--json").json["agents"]
    assert (state["pid"], state["calls"], state["connections"]) == (pid, 0, {"idle": 1, "used": 0})
    assert project.good("agent", "stop").out == f"stopped the agent of warm (pid {pid})\n"
    assert project.agent() is None
    assert not list(project.runtime.rglob("*.sock"))


def test_a_host_that_restarted_between_two_runs_is_reached_again(project: WarmProject) -> None:
    project.good("run", "warm", "page.setup", "--warm")
    before = project.logins
    project.server.stop()
    project.server.start()
    project.good("run", "warm", "page.setup")
    assert project.logins == before + 1


def test_it_ends_when_nobody_needs_it(project: WarmProject) -> None:
    project.idle = "1"
    project.good("exec", "warm", "--warm", "--", "true")
    (socket,) = project.runtime.rglob("*.sock")
    until(lambda: not socket.exists(), 10)
    assert project.agent() is None


def test_those_that_start_it_at_once_get_the_same_and_it_ends_on_sigterm(project: WarmProject) -> None:
    both = [project.begin("agent", "start", "--json", "--idle", "30m") for _ in range(3)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    (pid,) = {answer["agents"][0]["pid"] for answer in answers}
    assert answers[0]["agents"][0]["ends_after"] == 1800
    assert os.getsid(pid) not in (os.getsid(0), *(process.pid for process in both))
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1)} == {"/dev/null"}
    os.kill(pid, signal.SIGTERM)
    until(lambda: not alive(pid))
    assert not list(project.runtime.rglob("*.sock"))


@contextmanager
def endless(project: WarmProject) -> Iterator[subprocess.Popen[str]]:
    """A run that does not end by itself, once it is on the host."""
    with project.begin("run", "warm", "page.endless", "--warm") as process:
        until(project.waits)
        yield process


def test_when_it_is_killed_in_the_middle_the_call_goes_on_from_there_without_it(project: WarmProject) -> None:
    log = project.root / "log"
    with project.begin("run", "warm", "page.patient", "--warm") as process:
        until(lambda: log.exists() and log.read_text() == "first\n")
        killed = project.pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: not alive(killed))
        (project.root / "go").touch()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, out + err
    assert "the agent has ended; going on without it" in err
    assert log.read_text() == "first\nwaited\nlast\n"
    project.good("run", "warm", "page.setup", "--warm")
    assert project.pid != killed


def test_an_interrupt_ends_what_it_does_for_this_call(project: WarmProject) -> None:
    with endless(project) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130
    assert not project.waits()
    assert alive(project.pid)


def test_a_client_that_is_killed_ends_what_it_asked_for(project: WarmProject) -> None:
    with endless(project) as process:
        process.kill()
        process.communicate(timeout=30)
    until(lambda: not project.waits())
    assert alive(project.pid)


def test_where_there_can_be_no_agent_it_goes_on_without_one(project: WarmProject) -> None:
    project.idle = "soon"
    answer = project.good("exec", "warm", "--warm", "--", "echo", "done")
    assert "done" in answer.out
    assert answer.err.count("no warm connections: OPSFLOW_AGENT_IDLE is a number of seconds, not 'soon'") == 1
