"""What the engine remembers of earlier runs: facts of hosts, traces of recipes, plans.

Everything in it is a guess that the host verifies before it matters, but for a kept plan, which follows from its key:
the recipes and what they read on this machine, the node, the program, and the facts that it was made from.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from opsflow.engine import stamps
from opsflow.engine.messages import FactAnswer, HostPlan, UploadStep
from opsflow.engine.pool import KEPT_ENVIRONMENT
from opsflow.model.machine import Machine
from opsflow.model.snapshot import MemberSnapshot, NodeSnapshot
from opsflow.ports import Keep

VOLATILE = 2
"""Runs in which a remembered fact was another one; then it is asked for instead of assumed."""
FACTS = 4000
"""Facts remembered of one run list on one host."""
OPERATIONS = 2000
"""Operations of one run list whose positions are remembered."""
HOSTS = 5000
"""Hosts, and run lists, that are remembered in this process; the file has its own limits."""
MOMENT = frozenset({"run", "command", "sent_at", "reason"})
"""What is another one in each event: a plan that depends on it is not kept."""

_MEMBERS = TypeAdapter(tuple[MemberSnapshot, ...])

Expected = Mapping[str, tuple[tuple[str, FactAnswer], ...]]
"""Place of an operation -> the facts that it read after something had been written, in order."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)


Kind = TypeVar("Kind", bound=_Kept)


class HostMemory(_Kept):
    """What is known of one host from the last run of these recipes there."""

    facts: dict[str, FactAnswer] = Field(default_factory=dict)
    """As they were when the run had ended."""
    surprises: dict[str, int] = Field(default_factory=dict)
    """Fact -> runs in which it was not as remembered."""
    plan: HostPlan | None = None
    """The plan that follows from these facts."""
    plan_key: str = ""


class Trace(_Kept):
    """What a run of these recipes met on some host: what a host that was never seen may be like."""

    facts: dict[str, FactAnswer] = Field(default_factory=dict)
    """As they were when they were read first."""
    expected: dict[str, tuple[tuple[str, FactAnswer], ...]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Recalled:
    """What a run starts from."""

    facts: Mapping[str, FactAnswer] = field(default_factory=dict)
    expected: Expected = field(default_factory=dict)
    ask: tuple[str, ...] = ()
    """Facts that are asked for at once, because they are never as remembered."""
    plan: HostPlan | None = None


@dataclass(frozen=True)
class Learned:
    """What a run has found out."""

    first: Mapping[str, FactAnswer]
    last: Mapping[str, FactAnswer]
    expected: Expected
    surprises: frozenset[str]
    wrote: bool
    plan: HostPlan | None
    """The plan that the facts lead to, when nothing has changed them since it was made."""


class Forgetful:
    """Keeps nothing beyond this process (ports.Keep)."""

    def recall(self, key: str) -> bytes | None:
        """Nothing."""
        return None

    def remember(self, values: Mapping[str, bytes]) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Experience:
    """How a host's run asks the memory, and tells it."""

    recalled: Recalled | None = None
    """What is known of the host; None when it was never seen."""
    first: Future[HostPlan] | None = None
    """The plan that is made from it while the host is being connected to."""
    unseen: Callable[[], Recalled] = Recalled
    """Asked once the host answers: what is known of its recipes by then."""
    learn: Callable[[Learned], None] = lambda learned: None


NOVICE = Experience()


class Memory:
    """The engine's memory; safe to use from many threads."""

    def __init__(self, keep: Keep, paths: Sequence[str]) -> None:
        self._keep = keep
        self._paths = paths
        self._lock = threading.Lock()
        self._hosts: dict[str, HostMemory] = {}
        self._traces: dict[str, Trace] = {}
        self._unsaved: dict[str, bytes] = {}
        self._members: dict[int, tuple[tuple[MemberSnapshot, ...], str]] = {}

    # ------------------------------------------------------------------ keys

    def state_of_files(self) -> str:
        """What a planner process has loaded: the recipe files, and what runs them."""
        tree = stamps.tree_stamp(self._paths)
        environment = [(name, os.environ.get(name)) for name in KEPT_ENVIRONMENT]
        return _digest([tree, stamps.program(), list(self._paths), environment])

    def plan_key(self, files: str, recipes: Sequence[str], node: NodeSnapshot) -> str:
        """What a plan follows from, but for the host's facts."""
        shown = node.model_dump_json(exclude={"members": True, "event": set(MOMENT)})
        return _digest([files, list(recipes), shown, self._members_digest(node.members)])

    def _members_digest(self, members: tuple[MemberSnapshot, ...]) -> str:
        """All hosts of one moment share their members: they are looked at once."""
        with self._lock:
            found = self._members.get(id(members))
            if found is None:
                while len(self._members) > 8:
                    del self._members[next(iter(self._members))]
                # Kept along with the digest, or its id could become another one's.
                found = members, hashlib.sha256(_MEMBERS.dump_json(members)).hexdigest()
                self._members[id(members)] = found
            return found[1]

    # ------------------------------------------------------------------ recalling

    def recall(self, machine: Machine, recipes: Sequence[str], plan_key: str) -> Recalled | None:
        """What is known of the host, and of the recipes from elsewhere; None when the host was never seen."""
        host = self._get(_host_key(machine, recipes), HostMemory, self._hosts)
        if host is None:
            return None
        trace = self.trace(recipes) or Recalled()
        volatile = {key for key, times in host.surprises.items() if times >= VOLATILE}
        facts = {**trace.facts, **host.facts}
        plan = host.plan if host.plan_key == plan_key and not volatile and host.plan is not None else None
        if plan is not None and not stamps.unchanged(plan.inputs):
            plan = None
        return Recalled(
            facts={key: answer for key, answer in facts.items() if key not in volatile},
            expected=trace.expected,
            ask=tuple(key for key in volatile if key in host.facts),
            plan=plan,
        )

    def trace(self, recipes: Sequence[str]) -> Recalled | None:
        """What is known of the recipes alone; None when they never ran."""
        trace = self._get(_trace_key(recipes), Trace, self._traces)
        return None if trace is None else Recalled(trace.facts, trace.expected)

    def _get(self, key: str, kind: type[Kind], known: dict[str, Kind]) -> Kind | None:
        with self._lock:
            if key in known:
                return known[key]
        found = _read(self._keep.recall(key), kind)
        if found is not None:
            with self._lock:
                found = known.setdefault(key, found)
        return found

    # ------------------------------------------------------------------ learning

    def learn(
        self, machine: Machine, recipes: Sequence[str], learned: Learned, plan_key: str, secrets: Sequence[str]
    ) -> None:
        """Remember a run; what contains secrets is remembered in this process only."""
        key = _host_key(machine, recipes)
        before = self._get(key, HostMemory, self._hosts) or HostMemory()
        settled = learned.plan is not None and learned.plan.lasting
        host = HostMemory(
            facts=_newest(learned.last, FACTS),
            surprises=_surprises(before, learned),
            plan=learned.plan if settled else None,
            plan_key=plan_key if settled else "",
        )
        if not _same(before, host):
            with self._lock:
                self._hosts[key] = host
                self._bound(self._hosts)
                self._note(key, host, secrets)
        self._learn_trace(_trace_key(recipes), learned, secrets)

    def _learn_trace(self, key: str, learned: Learned, secrets: Sequence[str]) -> None:
        """What a run has written, or what it has met that no run did before, is worth knowing elsewhere."""
        before = self._get(key, Trace, self._traces)
        if before is not None and not learned.wrote and learned.first.keys() <= before.facts.keys():
            return
        before = before or Trace()
        met = {**learned.first, **before.facts} if not learned.wrote else {**before.facts, **learned.first}
        facts = _newest(met, FACTS)
        trace = Trace(facts=facts, expected={**before.expected, **learned.expected})
        if len(trace.expected) > OPERATIONS:
            trace = Trace(facts=dict(learned.first), expected=dict(learned.expected))
        with self._lock:
            self._traces[key] = trace
            self._bound(self._traces)
            self._note(key, trace, secrets)

    def _bound(self, known: dict[str, Any]) -> None:
        while len(known) > HOSTS:
            del known[next(iter(known))]

    def _note(self, key: str, value: BaseModel, secrets: Sequence[str]) -> None:
        text = value.model_dump_json()
        hidden = _mentions(text, secrets) or (isinstance(value, HostMemory) and _sends(value.plan, secrets))
        # What was kept before is void; where a secret would be written down, nothing is.
        written = b"" if hidden else zlib.compress(text.encode(), 1)
        self._unsaved[key] = written

    def checked(self, key: str) -> bool:
        """Whether these recipes were found usable before."""
        with self._lock:
            learned_here = f"checked:{key}" in self._unsaved
        return learned_here or self._keep.recall(f"checked:{key}") is not None

    def learn_checked(self, key: str) -> None:
        """These recipes are usable."""
        with self._lock:
            self._unsaved[f"checked:{key}"] = b"1"

    def save(self) -> None:
        """Write down what was learned since the last time."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            self._keep.remember(unsaved)

    def close(self) -> None:
        """Write everything down and let go."""
        self.save()
        self._keep.close()


def _read(value: bytes | None, kind: type[Kind]) -> Kind | None:
    """A kept value; None when it is of another version of this program, or void."""
    if not value:
        return None
    try:
        return kind.model_validate_json(zlib.decompress(value))
    except (ValidationError, zlib.error):
        return None


def _same(before: HostMemory, after: HostMemory) -> bool:
    """Whether a run has taught nothing, as most do; what it confirmed is the very object that was remembered."""
    return (
        (before.plan is after.plan or before.plan == after.plan)
        and before.plan_key == after.plan_key
        and before.surprises == after.surprises
        and before.facts == after.facts
    )


def _surprises(before: HostMemory, learned: Learned) -> dict[str, int]:
    """How often each fact was another one than remembered, in a row; one that stayed as it was is forgiven."""
    counted = {key: before.surprises.get(key, 0) + 1 for key in learned.surprises if key in before.facts}
    asked = {key: times for key, times in before.surprises.items() if times >= VOLATILE and key in learned.last}
    changed = {key for key in asked if before.facts.get(key) != learned.last.get(key)}
    return {**{key: asked[key] for key in changed}, **counted}


def _newest(facts: Mapping[str, FactAnswer], most: int) -> dict[str, FactAnswer]:
    return dict(list(facts.items())[-most:])


def _mentions(text: str, secrets: Iterable[str]) -> bool:
    return any(secret in text or json.dumps(secret)[1:-1] in text for secret in secrets if secret)


def _sends(plan: HostPlan | None, secrets: Iterable[str]) -> bool:
    """Whether a file that the plan writes contains a secret."""
    steps = (step for operation in plan.operations for step in operation.steps) if plan is not None else ()
    contents = [step.content for step in steps if isinstance(step, UploadStep) and step.content]
    return any(secret.encode() in content for secret in secrets if secret for content in contents)


def _host_key(machine: Machine, recipes: Sequence[str]) -> str:
    """A machine is known by its host keys: one that was made anew is another one."""
    return f"host:{_digest([sorted(machine.host_keys), machine.user, machine.port, machine.address, list(recipes)])}"


def _trace_key(recipes: Sequence[str]) -> str:
    return f"trace:{_digest(list(recipes))}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
