"""The pool of connections, with connections that only remember what happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from opsflow.clock import ManualClock, SystemClock
from opsflow.engine.connections import Connections, Count
from opsflow.engine.pacing import HANDSHAKES, LAPSE, PER_ADDRESS, Gate
from opsflow.engine.session import ConnectError, Why
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine, MachineState

SSH = Ssh()


def machine(number: int = 1, address: str = "") -> Machine:
    return Machine(
        id=f"m{number}",
        token="t" * 8,
        state=MachineState.RUNNING,
        address=address or f"10.0.0.{number}",
        port=22 if not address else 1000 + number,
    )


class Double:
    """A connection without a host."""

    def __init__(self, machine: Machine, ssh: Ssh, closed: list[str]) -> None:
        self.machine = machine
        self.ssh = ssh
        self.alive = True
        self.acknowledges = True
        self.shell: Any = None
        self._closed = closed

    def close(self) -> None:
        if self.shell is not None:
            self.shell.close()
        self._closed.append(self.machine.id)
        self.alive = False

    @property
    def healthy(self) -> bool:
        return self.alive and self.acknowledges


class Network:
    """Makes connections; can be told to refuse some."""

    def __init__(self) -> None:
        self.made: list[Double] = []
        self.closed: list[str] = []
        self.refuse: list[Why] = []
        self.at_once = 0
        self.most_at_once = 0
        self.hold: threading.Event | None = None
        self._lock = threading.Lock()

    def dial(self, machine: Machine, ssh: Ssh, timeouts: Timeouts, handshake: AbstractContextManager[None]) -> Double:
        with handshake:
            self._count(1)
            try:
                if self.hold is not None:
                    assert self.hold.wait(10)
                if self.refuse:
                    why = self.refuse.pop(0)
                    raise ConnectError(why, why.value)
            finally:
                self._count(-1)
        self.made.append(Double(machine, ssh, self.closed))
        return self.made[-1]

    def _count(self, change: int) -> None:
        with self._lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def connections(self, clock: Any = None, **more: Any) -> Connections:
        return Connections(clock or SystemClock(), dial=self.dial, **more)  # type: ignore[arg-type]


@pytest.fixture
def network() -> Network:
    return Network()


def borrow(pool: Connections, machine: Machine, timeouts: Timeouts | None = None) -> Any:
    return pool.borrow(machine, SSH, timeouts or Timeouts(), threading.Event())


def test_what_comes_back_is_lent_again(network: Network) -> None:
    pool = network.connections()
    first = borrow(pool, machine())
    assert borrow(pool, machine()) is not first
    pool.give_back(first)
    assert borrow(pool, machine()) is first
    assert pool.count() == Count(idle=0, lent=2, waiting=0)


def test_another_key_or_host_key_is_another_connection(network: Network) -> None:
    pool = network.connections()
    pool.give_back(borrow(pool, machine()))
    borrow(pool, machine().model_copy(update={"host_keys": ("ssh-ed25519 AAAA",)}))
    borrow(pool, machine().model_copy(update={"key_file": "/other"}))
    assert len(network.made) == 3


@pytest.mark.parametrize("how", ["alive", "acknowledges"])
def test_a_dead_one_is_never_lent(network: Network, how: str) -> None:
    pool = network.connections()
    first = borrow(pool, machine())
    pool.give_back(first)
    setattr(first, how, False)
    assert borrow(pool, machine()) is not first
    assert len(network.made) == 2


def test_one_that_dies_while_lent_is_ended(network: Network) -> None:
    pool = network.connections()
    first = borrow(pool, machine())
    first.alive = False
    pool.give_back(first)
    assert network.closed == ["m1"]
    assert pool.count() == Count(0, 0, 0)


def test_one_that_nobody_uses_is_ended(network: Network) -> None:
    clock = ManualClock()
    pool = network.connections(clock, idle_seconds=600)
    for number in (1, 2):
        pool.give_back(borrow(pool, machine(number)))
        clock.advance(400)
    pool.expire()
    assert network.closed == ["m1"]
    assert pool.count().idle == 1


def test_the_longest_unused_makes_room(network: Network) -> None:
    pool = network.connections(most_idle=2)
    for connection in [borrow(pool, machine(number)) for number in (1, 2, 3)]:
        pool.give_back(connection)
    assert network.closed == ["m1"]
    pool = network.connections(most=2)
    for number in (4, 5):
        pool.give_back(borrow(pool, machine(number)))
    borrow(pool, machine(6))
    assert network.closed == ["m1", "m4"]
    assert pool.count() == Count(idle=1, lent=1, waiting=0)


def test_those_beyond_the_limit_are_served_in_order(network: Network) -> None:
    pool = network.connections(most=1)
    first = borrow(pool, machine(1))
    order: list[int] = []

    def use(number: int) -> None:
        connection = borrow(pool, machine(number))
        order.append(number)
        pool.give_back(connection)

    with ThreadPoolExecutor(5) as threads:
        for number in range(2, 7):
            threads.submit(use, number)
            until(lambda number=number: pool.count().waiting == number - 1)
        pool.give_back(first)
    assert order == [2, 3, 4, 5, 6]


def test_waiting_can_be_cancelled(network: Network) -> None:
    pool = network.connections(most=1)
    borrow(pool, machine(1))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ConnectError, match="cancelled"):
        pool.borrow(machine(2), SSH, Timeouts(), cancel)
    assert pool.count() == Count(idle=0, lent=1, waiting=0)


def test_a_failure_leaves_room_for_the_next(network: Network) -> None:
    pool = network.connections(most=1)
    network.refuse = [Why.AUTHENTICATION]
    with pytest.raises(ConnectError):
        borrow(pool, machine())
    assert borrow(pool, machine()).alive


def test_an_unreachable_host_is_tried_three_times(network: Network) -> None:
    network.refuse = [Why.UNREACHABLE] * 2
    assert borrow(network.connections(), machine()).alive
    network.refuse = [Why.UNREACHABLE] * 4
    with pytest.raises(ConnectError):
        borrow(network.connections(), machine())
    assert len(network.refuse) == 1


def test_a_server_that_drops_us_is_tried_as_long_as_a_login_may_take(network: Network) -> None:
    network.refuse = [Why.DROPPED] * 4
    assert borrow(network.connections(), machine()).alive
    network.refuse = [Why.DROPPED] * 100
    with pytest.raises(ConnectError, match="dropped"):
        borrow(network.connections(), machine(), Timeouts(authentication=0.5))


def test_a_wrong_host_key_is_not_tried_again(network: Network) -> None:
    network.refuse = [Why.HOST_KEY] * 2
    with pytest.raises(ConnectError):
        borrow(network.connections(), machine())
    assert len(network.refuse) == 1


def test_reaching_is_one_attempt_and_keeps_the_connection(network: Network) -> None:
    pool = network.connections()
    network.refuse = [Why.UNREACHABLE]
    with pytest.raises(ConnectError):
        pool.reach(machine(), SSH, threading.Event())
    pool.reach(machine(), SSH, threading.Event())
    assert borrow(pool, machine()) is network.made[0]


def test_handshakes_are_paced(network: Network) -> None:
    pool = network.connections()
    network.hold = threading.Event()
    with ThreadPoolExecutor(60) as threads:
        one = [threads.submit(borrow, pool, machine(number, "10.1.1.1")) for number in range(20)]
        until(lambda: network.at_once == PER_ADDRESS)
        others = [threads.submit(borrow, pool, machine(number)) for number in range(40)]
        until(lambda: network.at_once == HANDSHAKES)
        network.hold.set()
        assert all(future.result(10).alive for future in one + others)
    assert network.most_at_once == HANDSHAKES


def test_fewer_at_once_with_an_address_that_drops(network: Network) -> None:
    pool = network.connections()
    network.refuse = [Why.DROPPED]
    pool.give_back(borrow(pool, machine(0, "10.1.1.1")))
    network.most_at_once, network.hold = 0, threading.Event()
    with ThreadPoolExecutor(20) as threads:
        futures = [threads.submit(borrow, pool, machine(number, "10.1.1.1")) for number in range(1, 20)]
        until(lambda: network.at_once == PER_ADDRESS // 2)
        network.hold.set()
        assert all(future.result(10).alive for future in futures)
    assert network.most_at_once == PER_ADDRESS // 2


def test_one_who_says_nothing_does_not_hold_up_the_others() -> None:
    clock = ManualClock()
    gate, never = Gate(1, clock), threading.Event()
    with gate.place(never):
        entered = threading.Event()

        def enter() -> None:
            with gate.place(never):
                entered.set()

        threading.Thread(target=enter).start()
        assert not entered.wait(0.3)
        clock.advance(LAPSE)
        assert entered.wait(5)


def test_a_shell_ends_before_its_connection_and_many_end_side_by_side(network: Network) -> None:
    pool = network.connections()
    together = threading.Barrier(3, timeout=5)

    class Shell:
        def close(self) -> None:
            together.wait()
            network.closed.append("shell")

    for connection in [borrow(pool, machine(number)) for number in (1, 2, 3)]:
        connection.shell = Shell()
        pool.give_back(connection)
    pool.close()
    assert network.closed[:3] == ["shell"] * 3 or network.closed.index("shell") == 0
    assert sorted(network.closed) == ["m1", "m2", "m3", *["shell"] * 3]


def test_what_comes_back_after_the_end_is_ended(network: Network) -> None:
    pool = network.connections()
    connection = borrow(pool, machine())
    pool.close()
    pool.give_back(connection)
    assert network.closed == ["m1"]


class Lending(RuleBasedStateMachine):
    """Whatever is borrowed, given back, dies or expires: the counts are true, and nobody gets what is dead or lent."""

    MOST, MOST_IDLE = 5, 3

    def __init__(self) -> None:
        super().__init__()
        self.network, self.clock = Network(), ManualClock()
        self.pool = self.network.connections(self.clock, most=self.MOST, most_idle=self.MOST_IDLE, idle_seconds=100)
        self.lent: list[Any] = []

    @precondition(lambda self: len(self.lent) < self.MOST)
    @rule(number=st.integers(1, 4))
    def borrow(self, number: int) -> None:
        connection = borrow(self.pool, machine(number))
        assert connection.alive
        assert connection.healthy
        assert connection not in self.lent
        assert connection.machine.id == f"m{number}"
        self.lent.append(connection)

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), discard=st.booleans())
    def give_back(self, data: st.DataObject, discard: bool) -> None:
        connection = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        (self.pool.discard if discard else self.pool.give_back)(connection)

    @precondition(lambda self: self.network.made)
    @rule(data=st.data(), how=st.sampled_from(["alive", "acknowledges"]))
    def die(self, data: st.DataObject, how: str) -> None:
        setattr(data.draw(st.sampled_from(self.network.made)), how, False)

    @rule(seconds=st.integers(1, 200))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.pool.expire()

    @invariant()
    def counts_are_true(self) -> None:
        count = self.pool.count()
        assert count.lent == len(self.lent)
        assert count.idle == len(self.network.made) - len(self.network.closed) - count.lent
        assert count.idle <= self.MOST_IDLE
        assert count.idle + count.lent <= self.MOST


Lending.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_lending = Lending.TestCase


def until(condition: Callable[[], bool]) -> None:
    clock = SystemClock()
    end = clock.monotonic() + 10
    while not condition():
        assert clock.monotonic() < end, "it did not happen"
        clock.sleep(0.01)
