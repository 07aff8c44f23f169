"""What every compute provider promises; runs over sandboxes, static machines with a real sshd, and the fake."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opsflow.clock import SystemClock
from opsflow.errors import CannotRestart, ProviderError
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.ports import ComputeProvider
from opsflow.providers.compute.fake import FakeProvider
from opsflow.providers.compute.sandbox import SandboxProvider
from opsflow.providers.compute.static import StaticProvider
from opsflow.providers.compute.static.handshake import host_key

CLOCK = SystemClock()
TOKENS = (f"contract-{number:04d}" for number in itertools.count())


class Harness:
    """A provider that can be opened again, as another process would, and a way to reach its machines."""

    real = True

    def __init__(self, open_provider: Callable[[], ComputeProvider]) -> None:
        self.open = open_provider
        self.provider = open_provider()

    def request(self, instance: str = "app1", stack: str = "shop") -> MachineRequest:
        return MachineRequest(token=next(TOKENS), stack=stack, instance=instance)

    def lose(self, machine: Machine) -> None:
        """Let the machine end by itself."""
        raise NotImplementedError

    def close(self) -> None:
        for stack in ("shop", "other"):
            for machine in self.provider.list(stack):
                self.provider.terminate(machine)


class FakeHarness(Harness):
    real = False

    def __init__(self, directory: Path) -> None:
        super().__init__(lambda: FakeProvider(CLOCK, directory / "fake.json"))

    def lose(self, machine: Machine) -> None:
        assert isinstance(self.provider, FakeProvider)
        self.provider.halt("app1")


class SandboxHarness(Harness):
    def __init__(self, directory: Path) -> None:
        super().__init__(lambda: SandboxProvider(directory / ".opsflow/sandbox", CLOCK))
        self._directory = directory

    def lose(self, machine: Machine) -> None:
        from opsflow.providers.compute.sandbox.processes import Process

        process = Process.read(self._directory / f".opsflow/sandbox/machines/{machine.token}/process.json")
        assert process is not None
        process.end(grace=0)


class StaticHarness(Harness):
    """Machines that somebody else runs: here, sandboxes of another project, written down in an inventory."""

    def __init__(self, directory: Path) -> None:
        self._owner = SandboxHarness(directory / "elsewhere")
        lines = ["hosts:"]
        for name in ("app1", "app2", "app3"):
            machine = self._owner.provider.create(self._owner.request(name))
            lines.append(
                f"  {name}: {{address: {machine.address}, port: {machine.port}, key: {machine.key_file}, "
                f"host_key: {machine.host_keys[0]}}}"
            )
        inventory = directory / "inventory/hosts.yml"
        inventory.parent.mkdir()
        inventory.write_text("\n".join(lines))
        super().__init__(lambda: StaticProvider(inventory, Ssh(), CLOCK, directory / ".opsflow"))

    def close(self) -> None:
        super().close()
        self._owner.close()


HARNESSES = {"fake": FakeHarness, "sandbox": SandboxHarness, "static": StaticHarness}
REAL = pytest.mark.sandbox


@pytest.fixture(params=["fake", pytest.param("sandbox", marks=REAL), pytest.param("static", marks=REAL)])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    harness = HARNESSES[request.param](tmp_path)
    yield harness
    harness.close()
    shutil.rmtree(tmp_path)


def answers(harness: Harness, machine: Machine) -> None:
    """A running machine can be reached, and shows one of the keys that the provider told."""
    assert machine.state is MachineState.RUNNING
    assert machine.address
    assert machine.user
    assert machine.host_keys
    if harness.real:
        assert eventually(lambda: host_key(str(machine.address), machine.port)) in machine.host_keys


def eventually(attempt: Callable[[], str]) -> str:
    deadline = CLOCK.monotonic() + 20
    while True:
        try:
            return attempt()
        except ProviderError:
            if CLOCK.monotonic() > deadline:
                raise


def test_check_accepts_this_machine(harness: Harness) -> None:
    harness.provider.check()


def test_a_created_machine_answers_with_a_known_key(harness: Harness) -> None:
    machine = harness.provider.create(harness.request())
    answers(harness, machine)


def test_what_create_would_take_is_known_before(harness: Harness) -> None:
    taken = harness.provider.prospect("app1")
    made = harness.provider.create(harness.request("app1"))
    if taken is not None:
        assert taken.model_copy(update={"token": made.token}) == made
    assert harness.provider.prospect("nobody-has-this-name") is None


def test_create_is_idempotent_also_from_another_process(harness: Harness) -> None:
    request = harness.request()
    first = harness.provider.create(request)
    assert harness.provider.create(request) == first
    assert harness.open().create(request) == first
    assert [machine.id for machine in harness.provider.list("shop")] == [first.id]


def test_create_is_idempotent_from_many_threads(harness: Harness) -> None:
    request = harness.request()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: harness.provider.create(request), range(8)))
    assert len({machine.id for machine in made}) == 1
    assert len(harness.provider.list("shop")) == 1


def test_machines_of_several_threads_are_all_different(harness: Harness) -> None:
    requests = [harness.request(name) for name in ("app1", "app2", "app3")]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(harness.provider.create, requests))
    assert len({machine.id for machine in made}) == 3
    assert len({(machine.address, machine.port) for machine in made}) == 3
    assert [machine.token for machine in made] == [request.token for request in requests]


def test_find_by_token(harness: Harness) -> None:
    request = harness.request()
    assert harness.provider.find(request.token) is None
    machine = harness.provider.create(request)
    assert harness.provider.find(request.token) == machine
    assert harness.open().find(request.token) == machine


def test_list_knows_stacks_apart(harness: Harness) -> None:
    mine = harness.provider.create(harness.request("app1"))
    theirs = harness.provider.create(harness.request("app2", stack="other"))
    assert [machine.id for machine in harness.provider.list("shop")] == [mine.id]
    assert [machine.id for machine in harness.provider.list("other")] == [theirs.id]
    assert list(harness.provider.list("nothing")) == []


def test_stop_and_start_bring_the_same_machine_back(harness: Harness) -> None:
    request = harness.request()
    machine = harness.provider.create(request)
    assert harness.provider.stop(machine).state is MachineState.STOPPED
    found = harness.provider.find(request.token)
    assert found is not None
    assert found.state is MachineState.STOPPED
    again = harness.provider.start(machine)
    assert (again.id, again.host_keys) == (machine.id, machine.host_keys)
    answers(harness, again)


def test_stopping_twice_and_starting_twice_change_nothing(harness: Harness) -> None:
    machine = harness.provider.create(harness.request())
    assert harness.provider.start(machine) == machine
    stopped = harness.provider.stop(machine)
    assert harness.provider.stop(machine) == stopped
    assert harness.provider.start(stopped) == harness.provider.start(stopped)


def test_reboot_keeps_the_machine_or_says_that_it_cannot(harness: Harness) -> None:
    machine = harness.provider.create(harness.request())
    if not harness.provider.powers:
        with pytest.raises(CannotRestart, match="cannot restart") as refused:
            harness.provider.reboot(machine)
        assert "opsflow exec shop --only app1 -- reboot" in str(refused.value.hint)
        assert harness.provider.find(machine.token) == machine
        return
    again = harness.provider.reboot(machine)
    assert (again.id, again.host_keys) == (machine.id, machine.host_keys)
    answers(harness, again)


def test_terminate_forgets_the_machine_and_may_be_repeated(harness: Harness) -> None:
    request = harness.request()
    machine = harness.provider.create(request)
    harness.provider.terminate(machine)
    assert harness.provider.find(request.token) is None
    assert list(harness.provider.list("shop")) == []
    harness.provider.terminate(machine)
    harness.open().terminate(machine)


def test_a_stopped_machine_can_be_terminated(harness: Harness) -> None:
    request = harness.request()
    machine = harness.provider.stop(harness.provider.create(request))
    harness.provider.terminate(machine)
    assert harness.provider.find(request.token) is None


@pytest.mark.parametrize("call", ["start", "stop", "reboot"])
def test_a_machine_that_is_gone_is_an_error(harness: Harness, call: str) -> None:
    machine = harness.provider.create(harness.request())
    harness.provider.terminate(machine)
    with pytest.raises(ProviderError, match="any more"):
        getattr(harness.provider, call)(machine)


def test_a_machine_that_ended_by_itself_is_reported_and_starts_again(harness: Harness) -> None:
    if isinstance(harness, StaticHarness):
        return  # nobody tells a static provider; the engine notices
    request = harness.request()
    machine = harness.provider.create(request)
    harness.lose(machine)
    found = harness.provider.find(request.token)
    assert found is not None
    assert found.state is MachineState.STOPPED
    assert [one.state for one in harness.provider.list("shop")] == [MachineState.STOPPED]
    answers(harness, harness.provider.start(found))


def test_a_token_can_be_used_again_after_terminate(harness: Harness) -> None:
    request = harness.request()
    harness.provider.terminate(harness.provider.create(request))
    answers(harness, harness.provider.create(request))


def test_unknown_options_are_refused_by_name(harness: Harness) -> None:
    if isinstance(harness, FakeHarness):
        return  # takes everything, so that stacks of any provider can be tried on it
    request = harness.request().model_copy(update={"options": {"colour": "red"}})
    with pytest.raises(ProviderError, match="colour"):
        harness.provider.create(request)
    assert harness.provider.find(request.token) is None
