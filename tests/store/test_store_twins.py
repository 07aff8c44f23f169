"""The SQL store and its memory twin do the same, whatever is done to them."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from opsflow.clock import ManualClock
from opsflow.errors import OpsflowError
from opsflow.model.command import Command, CommandStatus, CommandType, Run, RunStatus
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult, HostStatus
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Changes, Lease, Store
from opsflow.store.memory import MemoryStore
from opsflow.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STACKS = ("shop", "blog")
NAMES = ("app1", "app2", "db1")
RUNS = ("1", "2", "3")
COMMANDS = tuple(f"{run}-{number}" for run in RUNS for number in (1, 2))

stacks = st.sampled_from(STACKS)
texts = st.text(max_size=8)
instances = st.builds(
    lambda stack, name, status, reason: InstanceState(
        stack=stack, name=name, layers=("app",), status=status, reason=reason, created_at=NOW, changed_at=NOW
    ),
    stacks,
    st.sampled_from(NAMES),
    st.sampled_from(InstanceStatus),
    texts,
)
runs = st.builds(
    lambda key, stack, status: Run(id=key, stack=stack, action="up", status=status, created_at=NOW),
    st.sampled_from(RUNS),
    stacks,
    st.sampled_from(RunStatus),
)
commands = st.builds(
    lambda key, stack, name, status, detail: Command(
        id=key,
        run=key[0],
        stack=stack,
        instance=name,
        type=CommandType.SETUP,
        status=status,
        detail=detail,
        created_at=NOW,
    ),
    st.sampled_from(COMMANDS),
    stacks,
    st.sampled_from(NAMES),
    st.sampled_from(CommandStatus),
    texts,
)
results = st.tuples(
    st.sampled_from(COMMANDS),
    st.builds(
        lambda name, status: HostResult(instance=name, status=status),
        st.sampled_from(NAMES),
        st.sampled_from(HostStatus),
    ),
)
entries = st.builds(
    lambda stack, run, name, text: JournalEntry(
        at=NOW, stack=stack, kind="test.done", run=run, instance=name, message=text
    ),
    stacks,
    st.sampled_from((None, *RUNS)),
    st.sampled_from((None, *NAMES)),
    texts,
)
changes = st.builds(
    Changes,
    entries=st.lists(entries, max_size=3),
    instances=st.lists(instances, max_size=3),
    removed=st.lists(st.tuples(stacks, st.sampled_from(NAMES)), max_size=2),
    runs=st.lists(runs, max_size=2),
    commands=st.lists(commands, max_size=3),
    results=st.lists(results, max_size=2),
)


def outcome(store: Store, lease: Lease, change: Changes) -> object:
    try:
        return store.commit(lease, change)
    except OpsflowError as error:
        return type(error)


class Twins(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        directory = self._open.enter_context(tempfile.TemporaryDirectory())
        path = shutil.copy(self.template, directory)
        clock = ManualClock()
        sql = SqlStore(Path(path), clock)
        self._open.callback(sql.close)
        self.stores: tuple[Store, Store] = (sql, MemoryStore(clock))
        self.leases: list[Lease] = []

    @initialize()
    def own(self) -> None:
        self.leases = [self._open.enter_context(store.lease("test")) for store in self.stores]

    @rule(change=changes)
    def commit(self, change: Changes) -> None:
        sql, memory = (outcome(store, lease, change) for store, lease in zip(self.stores, self.leases, strict=True))
        assert sql == memory

    @rule()
    def next_run_id(self) -> None:
        sql, memory = (store.next_run_id(lease) for store, lease in zip(self.stores, self.leases, strict=True))
        assert sql == memory

    @rule(
        stack=st.sampled_from((None, *STACKS)),
        run=st.sampled_from((None, *RUNS)),
        name=st.sampled_from((None, *NAMES)),
        after=st.integers(-1, 12),
        limit=st.integers(-1, 6),
    )
    def look(self, stack: str | None, run: str | None, name: str | None, after: int, limit: int) -> None:
        sql, memory = (
            (
                store.journal(stack, run=run, instance=name, after=after, limit=limit),
                store.runs(stack, limit=limit, unfinished=after % 3 == 0),
                store.commands(run=run, stack=stack, unfinished=after % 2 == 0),
            )
            for store in self.stores
        )
        assert sql == memory

    @invariant()
    def they_are_equal(self) -> None:
        sql, memory = (
            (
                store.stacks(),
                [(state, list(state.instances)) for state in map(store.state, STACKS)],
                store.commands(),
                [store.run(key) for key in RUNS],
                [store.result(key) for key in COMMANDS],
            )
            for store in self.stores
        )
        assert sql == memory

    def teardown(self) -> None:
        self._open.close()


def test_twins(tmp_path: Path) -> None:
    SqlStore(tmp_path / "state.db", ManualClock()).close()
    Twins.template = tmp_path / "state.db"
    run_state_machine_as_test(
        Twins,
        settings=settings(
            max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
