"""Who works when: in the order in which they came, and hosts that are silent keep nobody waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from controller_world import ControllerWorld, shop

from opsflow.clock import ManualClock
from opsflow.controller.places import LENT, PATIENCE, Place, Places
from opsflow.model.command import CommandStatus


def collect(places: Places, count: int) -> list[tuple[int, Place]]:
    """Those who got a place, as they get it."""
    begun: list[tuple[int, Place]] = []
    for number in range(count):
        places.enter(lambda place, number=number: begun.append((number, place)))
    return begun


def in_thread(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_places_are_taken_in_order() -> None:
    places = Places(2, ManualClock())
    begun = collect(places, 5)
    assert [number for number, _ in begun] == [0, 1]
    for position in range(3):
        with places.taken(begun[position][1]):
            pass
    assert [number for number, _ in begun] == [0, 1, 2, 3, 4]


def test_a_silent_host_lends_its_place_and_comes_back_before_those_who_have_not_begun() -> None:
    clock = ManualClock()
    places = Places(1, clock)
    begun, order = collect(places, 3), []
    answered = threading.Event()

    def silent() -> None:
        with places.taken(begun[0][1]), places.reaching() as reaching:
            reaching(True)
            silence.set()
            answered.wait(10)
            reaching(False)
            order.append("silent")

    silence = threading.Event()
    thread = in_thread(silent)
    assert silence.wait(10)
    places.lend()
    assert len(begun) == 1
    clock.advance(PATIENCE)
    assert places.due_in() == 0.0
    places.lend()
    assert [number for number, _ in begun] == [0, 1]
    with places.taken(begun[1][1]):
        answered.set()
        order.append("second")
        while not places._returning:
            threading.Event().wait(0.001)
    thread.join(10)
    assert order == ["second", "silent"]
    assert [number for number, _ in begun] == [0, 1, 2]


def test_whoever_is_given_up_waits_for_nobody() -> None:
    clock = ManualClock()
    places = Places(1, clock)
    begun = collect(places, 3)
    with places.taken(begun[0][1]):
        with places.reaching() as reaching:
            reaching(True)
            clock.advance(PATIENCE)
            places.lend()
        assert [number for number, _ in begun] == [0, 1]
    assert len(begun) == 2, "the first one's place is the second one's"
    with places.taken(begun[1][1]):
        pass
    assert len(begun) == 3


def test_only_so_many_places_are_lent() -> None:
    clock = ManualClock()
    places = Places(2, clock)
    begun = collect(places, 20)
    served = 0
    while served < len(begun):
        place = begun[served][1]
        places._reach(place, True)
        served += 1
        clock.advance(PATIENCE)
        places.lend()
    assert len(begun) == 2 + 2 * LENT
    assert places.due_in() is None


def test_who_waits_for_another_command_of_its_instance_does_so_without_a_place() -> None:
    places = Places(1, ManualClock())
    begun = collect(places, 2)
    lock, held, waits, order = threading.RLock(), threading.Event(), threading.Event(), []

    def first() -> None:
        with places.taken(begun[0][1]), places.holding(lock):
            order.append("first")

    def holder() -> None:
        with lock:
            held.set()
            waits.wait(10)

    keeper = in_thread(holder)
    assert held.wait(10)
    thread = in_thread(first)
    while len(begun) < 2:
        threading.Event().wait(0.001)
    with places.taken(begun[1][1]):
        order.append("second")
        waits.set()
    keeper.join(10)
    thread.join(10)
    assert order == ["second", "first"]


@pytest.mark.parametrize("parallel", [1, 3])
def test_more_instances_than_places(parallel: int) -> None:
    layers = {"app": {"recipes": ["base"], "instances": {f"app{number}": {} for number in range(8)}}}
    world = ControllerWorld(shop(layers=layers))
    world.parallel = parallel
    world.up()
    world.engine.fail("app3")
    outcome = world.do(lambda controller: controller.run_recipes(["base.setup"]))
    ended = [command.instance for command in outcome.commands if command.status is CommandStatus.SUCCESSFUL]
    assert sorted(ended) == [f"app{number}" for number in range(8) if number != 3]
