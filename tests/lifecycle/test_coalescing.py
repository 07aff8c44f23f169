"""The pure core of configure storms, driven by random interleavings."""

from hypothesis import given
from hypothesis import strategies as st

from opsflow.lifecycle.coalescing import DEBOUNCE, PATIENCE, Waiting, why


def test_a_burst_is_answered_once_two_seconds_after_its_last_change():
    waiting = Waiting().changed(10.0).changed(11.5)
    assert waiting.due_in(12.0) == 1.5
    assert waiting.due_in(13.5) == 0.0
    assert Waiting().due_in(99.0) is None


def test_a_membership_that_never_rests_is_answered_anyway():
    waiting = Waiting().changed(0.0)
    for second in range(1, int(PATIENCE) + 1):
        waiting = waiting.changed(float(second))
    assert waiting.due_in(PATIENCE) == 0.0


def test_a_newer_one_supersedes_a_waiting_one_and_never_a_running_one():
    waiting, superseded = Waiting().changed(0).sent({"a": "1", "b": "2"})
    assert superseded == ()
    waiting = waiting.started("a", "1")
    waiting, superseded = waiting.changed(1).sent({"a": "3", "b": "4"})
    assert superseded == ("2",)
    assert waiting.running == {"a": "1"}
    assert not waiting.waits("b", "2")
    assert waiting.waits("a", "3")


def test_idle_only_when_nothing_changed_waits_or_runs():
    waiting, _ = Waiting().changed(0).sent({"a": "1"})
    assert not waiting.idle
    waiting = waiting.started("a", "1")
    assert not waiting.idle
    assert waiting.ended("a", "1").idle


def test_why_in_words():
    assert why(["a", "b"], ["c"]) == "a, b came online; c left"
    assert why([], []) == "the stack changed"


INSTANCES = ("a", "b", "c", "d")
actions = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.sampled_from(INSTANCES)),
        st.tuples(st.just("start"), st.sampled_from(INSTANCES)),
        st.tuples(st.just("end"), st.sampled_from(INSTANCES)),
        st.tuples(st.just("time"), st.floats(0, 3)),
    ),
    max_size=80,
)


class World:
    """What the controller does with the value, without its threads."""

    def __init__(self) -> None:
        self.now, self.waiting, self.online = 0.0, Waiting(), set()
        self.ids, self.changes, self.seen = 0, 0, {}
        self.running: dict[str, int] = {}

    def tick(self) -> None:
        if self.waiting.due_in(self.now) == 0.0:
            commands = {}
            for name in sorted(self.online):
                self.ids += 1
                commands[name] = str(self.ids)
            self.waiting, _ = self.waiting.sent(commands)

    def flip(self, name: str) -> None:
        self.online ^= {name}
        self.changes += 1
        self.waiting = self.waiting.changed(self.now)

    def start(self, name: str) -> None:
        if name in self.waiting.pending and name not in self.waiting.running:
            command = self.waiting.pending[name]
            if name in self.online:
                self.waiting = self.waiting.started(name, command)
                self.running[name] = self.changes  # the state is computed when it starts
            else:
                self.waiting = self.waiting.ended(name, command)  # skipped

    def end(self, name: str) -> None:
        if name in self.waiting.running:
            self.seen[name] = self.running.pop(name)
            self.waiting = self.waiting.ended(name, self.waiting.running[name])

    def time(self, seconds: float) -> None:
        self.now += seconds
        self.tick()


@given(actions)
def test_every_online_instance_gets_a_configure_after_the_last_membership_change(steps):
    world = World()
    for action, argument in steps:
        getattr(world, action)(argument)
        assert len(world.waiting.pending) <= len(INSTANCES)
        assert set(world.running) == set(world.waiting.running)
    for _ in range(3):
        world.time(DEBOUNCE)
        for name in INSTANCES:
            world.end(name)
            world.start(name)
            world.end(name)
    assert world.waiting.idle
    if world.changes:
        assert all(world.seen.get(name) == world.changes for name in world.online)
