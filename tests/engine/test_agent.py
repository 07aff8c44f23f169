"""The agent without hosts: what goes over its socket, who may use it, and what happens when it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsflow.clock import SystemClock
from opsflow.engine.agent import codec, wire
from opsflow.engine.agent.address import ENVIRONMENT, NoAgent, name_of, runtime_directory
from opsflow.engine.agent.client import AgentEngine
from opsflow.engine.agent.server import Agent, Services
from opsflow.engine.agent.start import connect, listen
from opsflow.engine.fake import FakeEngine
from opsflow.engine.pool import KEPT_ENVIRONMENT
from opsflow.errors import HostsUnreachable, OpsflowError, Problem, RecipeError, UsageError
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine, MachineState
from opsflow.model.result import CommandOutput, HostResult, HostStatus, OperationResult, OperationStatus
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.ports import HostEvent, HostJob, Mode, OperationEnded, OperationStarted, OutputReceived, PhaseChanged

CLOCK = SystemClock()
MACHINE = Machine(id="m1", token="t" * 8, state=MachineState.RUNNING, address="10.0.0.1", host_keys=("a b",))


def job(name: str = "web1", members: int = 3) -> HostJob:
    everyone = tuple(MemberSnapshot(name=f"web{i}", layers=("web",), status="online") for i in range(members))
    node = NodeSnapshot(
        stack="shop",
        name=name,
        layers=("web",),
        members=everyone,
        layer_names=("web",),
        attributes={"deep": {"er": [1, 2.5, None, "ü\u2028"]}},
        event=EventSnapshot(type="setup", reason="test"),
        secrets=("hunter2",),
    )
    return HostJob(
        run="1",
        command="1-1",
        epoch=3,
        machine=MACHINE,
        ssh=Ssh(key="/k"),
        recipes=("a.b",),
        node=node,
        timeouts=Timeouts(run=7),
        mode=Mode.CHECK,
        diff=True,
        store="s",
    )


# ------------------------------------------------------------------------------------------------ what is sent

EVENTS = st.one_of(
    st.builds(PhaseChanged, st.just("web1"), st.text()),
    st.builds(OperationStarted, st.just("web1"), st.integers(0, 9), st.integers(0, 9), st.text()),
    st.builds(OutputReceived, st.just("web1"), st.integers(0, 9), st.sampled_from(["stdout", "stderr"]), st.binary()),
    st.builds(
        OperationEnded,
        st.just("web1"),
        st.builds(
            OperationResult,
            index=st.integers(0, 9),
            name=st.text(),
            operation=st.text(),
            recipe=st.text(),
            status=st.sampled_from(OperationStatus),
            duration=st.floats(0, 1e6),
            commands=st.lists(st.builds(CommandOutput, command=st.text(), stdout=st.text()), max_size=2).map(tuple),
        ),
    ),
)


@given(st.lists(EVENTS, max_size=6), st.sampled_from(HostStatus), st.text(), st.booleans())
def test_events_and_results_arrive_as_they_were(
    events: list[HostEvent], status: HostStatus, text: str, more: bool
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told = tuple(event.result for event in events if isinstance(event, OperationEnded))
        unseen = OperationResult(index=0, name="x", operation="o", recipe="r", status=OperationStatus.NOT_RUN)
        result = HostResult(
            instance="web1", status=status, error=text, operations=(*told, unseen) if more else told[::-1]
        )
        out, back = codec.EventsOut(), codec.EventsIn("web1")
        wire.send(ours, [*map(out.text, events), f"[{out.result_text(result)}]"])
        *told_back, answer = wire.receive(theirs)
        assert [back.event(each) for each in told_back] == events
        assert back.result(*answer) == result


def test_members_are_sent_once_and_jobs_arrive_as_they_were() -> None:
    sent: dict[str, str] = {}
    members = codec.MembersSent(lambda name, data: sent.__setitem__(name, data))
    jobs = [job(f"web{i}") for i in range(5)] + [job(members=4), job(members=3)]
    texts = [codec.job_text(each, members.digest(each.node.members)) for each in jobs]
    assert len(sent) == 2
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, [*(f'["{name}",{data}]' for name, data in sent.items()), *texts])
        messages = wire.receive(theirs)
    known = {name: codec.members_from(data) for name, data in messages[:2]}
    assert [codec.job_from(each, known) for each in messages[2:]] == jobs


def test_a_key_is_the_same_one_in_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sent = codec.host_text(MACHINE.model_copy(update={"key_file": "id"}), Ssh(key="~/id"))
    assert f'"{tmp_path}/id"' in sent
    assert '"~/id"' in sent


@pytest.mark.parametrize(
    "error",
    [
        UsageError("wrong", hint="right"),
        HostsUnreachable("gone"),
        RecipeError([Problem("a.py", "bad", 3, 1, hint="good", snippet="x = 1")]),
        OpsflowError("other"),
    ],
)
def test_errors_arrive_as_they_were(error: OpsflowError) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, [codec.error_text(error)])
        back = codec.error_from(wire.receive(theirs)[0])
    assert (type(back), back.message, back.hint, back.exit_code) == (
        type(error),
        error.message,
        error.hint,
        error.exit_code,
    )


@given(st.binary(max_size=64))
def test_what_is_no_frame_ends_the_connection(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data)
        with suppress(wire.Gone):
            assert isinstance(wire.receive(theirs), list)


def test_what_comes_together_travels_together() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = wire.Outbox(ours)
        for number in range(100):
            outbox.put(str(number), urgent=number == 99)
        frames = []
        while sum(map(len, frames)) < 100:
            frames.append(wire.receive(theirs))
        assert len(frames) <= 3
        outbox.close()


def test_who_says_more_than_is_read_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = wire.Outbox(ours)
        said = []

        def talk() -> None:
            for number in range(40):
                outbox.put('"' + "x" * (wire.FULL // 4) + '"', urgent=True)
                said.append(number)

        thread = threading.Thread(target=talk)
        thread.start()
        thread.join(0.3)
        assert len(said) < 40
        heard = 0
        while heard < 40:
            heard += len(wire.receive(theirs))
        thread.join(10)
        assert len(said) == 40
        outbox.close()


# ------------------------------------------------------------------------------------------------ where it is


def test_the_directory_is_private_or_it_is_not_used(tmp_path: Path) -> None:
    (own := tmp_path / "o").mkdir()
    environment = {"XDG_RUNTIME_DIR": str(own)}
    assert runtime_directory(environment) == own / "opsflow"
    assert (own / "opsflow").stat().st_mode & 0o777 == 0o700
    (own / "opsflow").chmod(0o750)
    assert runtime_directory(environment) != own / "opsflow"
    (own / "opsflow").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (own / "opsflow").symlink_to(tmp_path / "elsewhere")
    assert runtime_directory(environment) != own / "opsflow"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "opsflow").mkdir(mode=0o700)
    os.chown(tmp_path / "opsflow", 65534, 65534)
    assert runtime_directory({"XDG_RUNTIME_DIR": str(tmp_path)}) != tmp_path / "opsflow"


def test_a_name_that_is_too_long_for_a_socket_is_not_used(tmp_path: Path) -> None:
    (deep := tmp_path / ("x" * 100)).mkdir()
    assert deep not in runtime_directory({"XDG_RUNTIME_DIR": str(deep)}).parents


def test_other_recipes_and_another_environment_have_another_agent(tmp_path: Path) -> None:
    names = [
        name_of([tmp_path], {}),
        name_of([tmp_path / "x"], {}),
        name_of([tmp_path], {"SSH_AUTH_SOCK": "/s"}),
        name_of([tmp_path], {"LANG": "C"}),
    ]
    assert len(set(names)) == 4
    assert name_of([tmp_path], {"COLUMNS": "80"}) == names[0]
    assert set(KEPT_ENVIRONMENT) < set(ENVIRONMENT)


# ------------------------------------------------------------------------------------------------ who uses it


class Served:
    """An agent in this process, with the fake engine."""

    def __init__(self, directory: Path, idle: float = 600) -> None:
        self.path = directory / "agent.sock"
        self.fake = FakeEngine(CLOCK)
        self._listener = listen(self.path)
        self._agent = Agent(self._listener, self.path.stem, lambda: Services(self.fake), CLOCK, idle)
        self.thread = threading.Thread(target=self._agent.serve)
        self.thread.start()
        self.warnings: list[str] = []
        self.other = FakeEngine(CLOCK)

    def engine(self) -> AgentEngine:
        found = connect(self.path)
        assert found is not None
        return AgentEngine(found.socket, lambda: self.other, self.warnings.append)

    def close(self) -> None:
        self._agent.stop()
        self.thread.join()
        self._listener.close()
        self._agent.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_somebody_else_is_not_served(served: Served) -> None:
    # It begins in the socket's directory, so nothing above that is opened for it.
    for path in (served.path, served.path.parent):
        path.chmod(0o777)
    ask = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try: s.sendall(b'\\0\\0\\0\\x0b[[\"hello\"]]'); print(s.recv(1))\n"
        "except OSError: print(b'')"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, served.path.name],
        cwd=served.path.parent,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "b''\n"


def test_an_agent_with_another_name_is_not_believed(served: Served) -> None:
    other = served.path.with_name("other.sock")
    served.path.rename(other)
    with pytest.raises(NoAgent, match="another agent"):
        connect(other)


def test_it_ends_after_the_idle_time_but_not_while_somebody_is_there(tmp_path: Path) -> None:
    served = Served(tmp_path, idle=0.5)
    engine = served.engine()
    served.thread.join(1)
    assert served.thread.is_alive()
    assert engine.wait_ready(MACHINE, Ssh(), 1, threading.Event()) is None
    engine.close()
    served.thread.join(5)
    assert not served.thread.is_alive()
    served.close()


def test_when_it_ends_before_anything_ran_the_work_goes_on_without_it(served: Served) -> None:
    engine, events = served.engine(), list[Any]()
    served.close()
    assert engine.run(job(), events.append, threading.Event()).ok
    assert engine.exec(MACHINE, Ssh(), "true", timeout=1, output=lambda *_: None) == 0
    assert engine.facts(MACHINE, Ssh(), ["server.Os"]) == {"server.Os": "Linux"}
    engine.check([job()])
    assert engine.wait_ready(MACHINE, Ssh(), 1, threading.Event()) is None
    assert served.warnings == ["the agent has ended; going on without it, with connections of our own"]
    assert [each.node.name for each in served.other.jobs] == ["web1"]
    engine.close()
    assert served.other.closed


def test_an_observer_that_fails_cancels_what_it_watched(served: Served) -> None:
    served.fake.hang()
    engine = served.engine()

    def fail(event: HostEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(job(), fail, threading.Event())
    end = CLOCK.monotonic() + 10
    while (found := connect(served.path)) and found.hello["calls"]:
        found.socket.close()
        assert CLOCK.monotonic() < end
    assert found is not None
    found.socket.close()
    engine.close()


def test_a_defect_in_the_agent_is_one_here(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.fake, "facts", lambda *_: 1 / 0)
    engine = served.engine()
    with pytest.raises(RuntimeError, match="in the agent: ZeroDivisionError"):
        engine.facts(MACHINE, Ssh(), ["server.Os"])
    engine.close()


def test_using_an_agent_needs_little(tmp_path: Path) -> None:
    look = (
        "import sys, opsflow.engine.agent.client, opsflow.engine.agent.start\n"
        "print(sorted({'paramiko', 'pyinfra', 'sqlalchemy', 'cryptography', 'gevent'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
