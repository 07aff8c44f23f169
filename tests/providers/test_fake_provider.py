"""The fake fails exactly as it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsflow.clock import ManualClock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.model.machine import MachineRequest, MachineState
from opsflow.providers.compute.fake import Call, FakeProvider

REQUEST = MachineRequest(token="token-0001", stack="shop", instance="app1")


@pytest.mark.parametrize("call", ["create", "start", "stop", "reboot", "terminate"])
@pytest.mark.parametrize("done", [False, True])
def test_a_call_fails_once_before_or_after_it_is_done(call: Call, done: bool) -> None:
    fake = FakeProvider(ManualClock())
    machine = None if call == "create" else fake.create(REQUEST)
    fake.fail(call, "app*", done=done, message="quota")
    with pytest.raises(ProviderError, match="quota"):
        getattr(fake, call)(machine or REQUEST)
    exists = fake.find(REQUEST.token) is not None
    assert exists == {"create": done, "terminate": not done}.get(call, True)
    getattr(fake, call)(machine or REQUEST)


def test_faults_hit_only_matching_instances_and_can_be_taken_back() -> None:
    fake = FakeProvider(ManualClock())
    fake.fail("create", "db*", times=5)
    fake.create(REQUEST)
    with pytest.raises(ProviderError):
        fake.create(REQUEST.model_copy(update={"token": "token-0002", "instance": "db1"}))
    fake.heal()
    fake.create(REQUEST.model_copy(update={"token": "token-0002", "instance": "db1"}))
    assert fake.calls == [("create", "app1"), ("create", "db1"), ("create", "db1")]


@pytest.mark.parametrize("call", ["check", "find", "list"])
def test_asking_can_fail_too(call: Call) -> None:
    fake = FakeProvider(ManualClock())
    fake.fail(call)
    with pytest.raises(CapabilityError if call == "check" else ProviderError):
        fake.check() if call == "check" else getattr(fake, call)("shop")


def test_booting_takes_its_time_or_never_ends() -> None:
    clock = ManualClock()
    fake = FakeProvider(clock)
    fake.boot_seconds = 30
    assert fake.create(REQUEST).state is MachineState.STARTING
    clock.advance(31)
    found = fake.find(REQUEST.token)
    assert found is not None
    assert found.state is MachineState.RUNNING
    fake.never_boots.add("app1")
    assert fake.reboot(found).state is MachineState.STARTING
    clock.advance(9999)
    assert [machine.state for machine in fake.list("shop")] == [MachineState.STARTING]


def test_machines_vanish_halt_and_hide_their_keys() -> None:
    fake = FakeProvider(ManualClock())
    fake.create(REQUEST)
    fake.halt("app1")
    assert [machine.state for machine in fake.machines] == [MachineState.STOPPED]
    fake.without_host_key.add("app1")
    assert fake.machines[0].host_keys == ()
    fake.vanish("*")
    assert fake.find(REQUEST.token) is None


def test_calls_take_time_and_addresses_move() -> None:
    clock = ManualClock()
    fake = FakeProvider(clock)
    fake.delay, fake.moves = 2.5, True
    before = clock.monotonic()
    machine = fake.create(REQUEST)
    assert clock.monotonic() - before == 2.5
    again = fake.start(fake.stop(machine))
    assert (again.id, again.address != machine.address) == (machine.id, True)


def test_machines_outlive_the_object_when_they_are_kept_in_a_file(tmp_path: Path) -> None:
    clock = ManualClock()
    first = FakeProvider(clock, tmp_path / "machines.json")
    machine = first.create(REQUEST)
    second = FakeProvider(clock, tmp_path / "machines.json")
    assert second.find(REQUEST.token) == machine
    second.terminate(machine)
    assert first.find(REQUEST.token) is None
    assert FakeProvider(clock).find(REQUEST.token) is None
