"""What the engine remembers of a run, and what it does not write down again."""

from __future__ import annotations

from collections.abc import Mapping

from opsflow.engine.memory import Learned, Memory
from opsflow.engine.messages import FactAnswer, HostPlan
from opsflow.model.machine import Machine, MachineState
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.store.keep import RamKeep

RECIPES = ("site.setup",)
MACHINE = Machine(id="m", token="m", state=MachineState.RUNNING, address="10.0.0.1", host_keys=("ssh-ed25519 AAAA",))


class Counting(RamKeep):
    """Tells what it is asked to remember."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Mapping[str, bytes]] = []

    def remember(self, values: Mapping[str, bytes]) -> None:
        self.writes.append(values)
        super().remember(values)


def learned(answer: str, plan: HostPlan | None) -> Learned:
    facts = {"id": FactAnswer(exit_code=0, stdout=answer)}
    return Learned(first=facts, last=facts, expected={}, surprises=frozenset(), wrote=False, plan=plan)


def node(**event: str) -> NodeSnapshot:
    member = MemberSnapshot(name="h", layers=("web",), status="online")
    happened = EventSnapshot(type="setup", reason=event.pop("reason", ""), **event)
    return NodeSnapshot(
        stack="s",
        name="h",
        layers=("web",),
        members=(member,),
        layer_names=("web",),
        attributes={"a": 1},
        event=happened,
    )


def test_a_run_that_taught_nothing_is_not_written_down_again() -> None:
    keep, plan = Counting(), HostPlan(lasting=True)
    memory = Memory(keep, ())
    for _ in range(2):
        memory.learn(MACHINE, RECIPES, learned("root", plan), "key", ())
        memory.save()
    assert len(keep.writes) == 1

    again = Memory(keep, ())
    recalled = again.recall(MACHINE, RECIPES, "key")
    assert recalled is not None
    assert recalled.plan == plan
    again.learn(MACHINE, RECIPES, learned("root", recalled.plan), "key", ())
    again.save()
    assert len(keep.writes) == 1


def test_each_difference_is_written_down() -> None:
    keep, plan = Counting(), HostPlan(lasting=True)
    memory = Memory(keep, ())
    for answer, made, key in [("a", plan, "1"), ("b", plan, "1"), ("b", None, "1"), ("b", plan, "1"), ("b", plan, "2")]:
        memory.learn(MACHINE, RECIPES, learned(answer, made), key, ())
        memory.save()
        recalled = Memory(keep, ()).recall(MACHINE, RECIPES, key)
        assert recalled is not None
        assert recalled.facts["id"].stdout == answer
        assert recalled.plan == made
    assert len(keep.writes) == 5


def test_what_was_checked_is_known_before_and_after_it_is_written_down() -> None:
    keep = Counting()
    memory = Memory(keep, ())
    assert not memory.checked("key")
    memory.learn_checked("key")
    assert memory.checked("key")
    memory.save()
    assert memory.checked("key")
    assert Memory(keep, ()).checked("key")


def test_a_plan_follows_from_the_node_but_not_from_the_moment() -> None:
    memory = Memory(RamKeep(), ())
    key = memory.plan_key("files", RECIPES, node(run="1", command="1.1"))
    assert key == memory.plan_key("files", RECIPES, node(run="2", command="2.1", reason="asked for"))
    assert key != memory.plan_key("other files", RECIPES, node())
    assert key != memory.plan_key("files", ("site.deploy",), node())
    assert key != memory.plan_key("files", RECIPES, node().model_copy(update={"attributes": {"a": 2}}))
    assert key != memory.plan_key("files", RECIPES, node().model_copy(update={"members": ()}))
