import threading
from collections import Counter

from controller_world import ControllerWorld, shop

from opsflow.controller import Targets
from opsflow.model.command import CommandStatus


def stack(count):
    instances = {f"app{n}": {} for n in range(count)}
    return shop(layers={"app": {"recipes": ["base"], "instances": instances}}, apps={})


def configures(outcome, status=CommandStatus.SUCCESSFUL):
    return [c for c in outcome.commands if c.type == "configure" and c.status is status]


def test_a_burst_of_starts_costs_at_most_two_configures_an_instance():
    world = ControllerWorld(stack(30))
    outcome = world.up()
    assert len(world.online()) == 30
    assert 30 <= len(configures(outcome)) <= 60


def test_a_burst_of_stops_costs_at_most_two_configures_an_instance():
    world = ControllerWorld(stack(20))
    world.up()
    outcome = world.do(lambda c: c.stop(Targets(only=("app1*",))))
    left = world.online()
    assert len(left) == 9
    assert 9 <= len(configures(outcome)) <= 18
    assert {c.instance for c in configures(outcome)} == left


def test_every_configure_runs_after_the_last_membership_change():
    world = ControllerWorld(stack(12))
    world.up()
    last = max(index for index, kind in enumerate(world.listener.kinds()) if kind == "instance.online")
    started = Counter(
        entry.instance
        for entry in world.listener.entries[last:]
        if entry.kind == "command.started" and entry.message.startswith("configure")
    )
    assert set(started) == world.online()


def test_a_waiting_configure_is_superseded_and_a_running_one_never_dropped():
    """app0 configures for long; meanwhile others join twice."""
    world = ControllerWorld(stack(1))
    world.up()
    layers = {"app": {"recipes": ["base"], "instances": {"app0": {}, "b": {}, "c": {}, "d": {}}}}
    world.change(shop(layers=layers, apps={}))
    world.debounce = 0.05
    configure = world.engine.hold("app0", "base.configure", times=1)
    late = {name: world.engine.hold(name, "base.setup", times=1) for name in ("c", "d")}
    results = []
    thread = threading.Thread(target=lambda: results.append(world.up()))
    thread.start()
    # The manual clock stands still while recipes run, so the test moves it past the debounce.
    _until(world, configure.reached)
    for name in ("c", "d"):
        late[name].go.set()
        _until(world, lambda name=name: world.statuses().get(name) == "online")
        _until(world, lambda name=name: _sent_since(world, name))
    configure.go.set()
    thread.join(20)
    (outcome,) = results
    mine = [c for c in outcome.commands if c.instance == "app0"]
    assert [c.status.value for c in mine] == ["successful", "superseded", "successful"]
    assert mine[1].detail == "a newer configure takes its place"
    snapshot = world.store.node_snapshot(mine[-1].id)
    assert {m.name for m in snapshot.members if m.status == "online"} == {"app0", "b", "c", "d"}


def _sent_since(world, name):
    kinds = [(e.kind, e.message) for e in world.listener.entries]
    online = max(n for n, (kind, text) in enumerate(kinds) if kind == "instance.online" and text.startswith(name))
    return any(kind == "command.created" and text.startswith("configure on") for kind, text in kinds[online:])


def _until(world, condition):
    check = condition.is_set if isinstance(condition, threading.Event) else condition
    pause = threading.Event()
    for _ in range(2000):
        if check():
            return
        world.clock.advance(0.5)
        pause.wait(0.005)
    raise AssertionError("it never happened")
