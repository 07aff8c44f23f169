"""What every store promises; runs over the SQL store and its memory twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsflow.clock import ManualClock
from opsflow.errors import LockHeld, StoreError
from opsflow.model.command import Command, CommandStatus, CommandType, Run, RunStatus
from opsflow.model.journal import JournalEntry
from opsflow.model.result import CommandOutput, HostResult, HostStatus, OperationResult, OperationStatus
from opsflow.model.snapshot import AppSnapshot, EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.model.state import Deployed, InstanceState, InstanceStatus
from opsflow.ports import Changes, Store
from opsflow.redact import MASK
from opsflow.store.memory import Backing, MemoryStore
from opsflow.store.sql import SqlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Harness:
    """Opens handles on one store."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.clock = ManualClock()
        self._kind = kind
        self._path = directory / "state.db"
        self._backing = Backing()
        self._handles: list[Store] = []

    def open(self) -> Store:
        store: Store = (
            SqlStore(self._path, self.clock) if self._kind == "sql" else MemoryStore(self.clock, self._backing)
        )
        self._handles.append(store)
        return store

    def break_lock(self) -> None:
        """What a file system with broken locks does: the next one may come in beside the holder."""
        if self._kind == "sql":
            self._path.with_name("state.db.lock").unlink()
        else:
            self._backing.held = None

    def close(self) -> None:
        for store in self._handles:
            store.close()


@pytest.fixture(params=["sql", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(request.param, tmp_path)
    yield harness
    harness.close()


@pytest.fixture
def store(harness: Harness) -> Store:
    return harness.open()


def entry(stack: str = "shop", message: str = "something happened", **more: object) -> JournalEntry:
    return JournalEntry.model_validate({"at": NOW, "stack": stack, "kind": "test.done", "message": message, **more})


def instance(name: str, stack: str = "shop", **more: object) -> InstanceState:
    values = {"stack": stack, "name": name, "layers": ("app",), "created_at": NOW, "changed_at": NOW}
    return InstanceState.model_validate(values | more)


def run(number: int, stack: str = "shop", **more: object) -> Run:
    return Run.model_validate({"id": str(number), "stack": stack, "action": "up", "created_at": NOW, **more})


def command(key: str, run: int = 1, stack: str = "shop", **more: object) -> Command:
    values = {"id": key, "run": str(run), "stack": stack, "instance": "app1", "type": CommandType.SETUP}
    return Command.model_validate(values | {"created_at": NOW} | more)


def result(text: str = "hello") -> HostResult:
    output = CommandOutput(command="echo", exit_code=0, stdout=text, stdout_bytes=len(text))
    operation = OperationResult(
        index=0,
        name="say",
        operation="server.shell",
        recipe="a.setup",
        status=OperationStatus.CHANGED,
        commands=(output,),
    )
    return HostResult(instance="app1", status=HostStatus.OK, operations=(operation,))


def write(store: Store, **changes: object) -> Sequence[JournalEntry]:
    with store.lease("test") as lease:
        return store.commit(lease, Changes(**({"entries": [entry()]} | changes)))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ state


def test_an_unknown_stack_is_empty(store: Store) -> None:
    state = store.state("nope")
    assert (state.stack, state.version, dict(state.instances)) == ("nope", 0, {})
    assert store.stacks() == ()
    assert store.runs() == ()
    assert store.run("1") is None
    assert store.commands() == ()
    assert store.result("x") is None
    assert store.node_snapshot("x") is None
    assert store.journal() == ()


def test_state_comes_back_as_it_was_written(store: Store) -> None:
    deployed = Deployed(revision="abc", release="r1", previous=("r0",), deploy_to="/srv/www/shop", at=NOW)
    written = instance(
        "app1",
        status=InstanceStatus.ONLINE,
        generation=3,
        token="token-1",
        apps={"storefront": deployed},
        applied={"setup": "d1"},
        wanted=False,
        reason="you said so",
        online_since=NOW + timedelta(microseconds=1),
    )
    write(store, instances=[written])
    assert store.state("shop").instances["app1"] == written


def test_instances_are_in_order_of_creation(store: Store) -> None:
    write(store, instances=[instance("zeta"), instance("alpha")])
    write(store, instances=[instance("mid")])
    write(store, instances=[instance("zeta", reason="changed")])
    assert list(store.state("shop").instances) == ["zeta", "alpha", "mid"]
    write(store, removed=[("shop", "zeta"), ("shop", "never-there")])
    assert list(store.state("shop").instances) == ["alpha", "mid"]
    write(store, instances=[instance("zeta")])
    assert list(store.state("shop").instances) == ["alpha", "mid", "zeta"]


def test_removed_and_written_in_one_change_is_made_anew(store: Store) -> None:
    write(store, instances=[instance("a"), instance("b")])
    write(store, instances=[instance("a", generation=2)], removed=[("shop", "a")])
    assert list(store.state("shop").instances) == ["b", "a"]


def test_stacks_are_apart(store: Store) -> None:
    write(store, instances=[instance("app1")])
    write(store, entries=[entry("blog")], instances=[instance("app1", stack="blog", reason="other")])
    assert store.state("shop").instances["app1"].reason == ""
    assert store.state("blog").instances["app1"].reason == "other"
    write(store, entries=[entry("wiki")], runs=[run(1, "wiki")])
    write(store, entries=[entry("only-a-note")])
    assert store.stacks() == ("blog", "shop", "wiki")


def test_every_change_bumps_the_version_of_the_stacks_that_it_touches(store: Store) -> None:
    def versions() -> list[int]:
        return [store.state(stack).version for stack in ("shop", "blog", "wiki")]

    write(store, instances=[instance("a"), instance("b")])
    assert versions() == [1, 0, 0]
    write(store, instances=[instance("c", stack="blog")])
    assert versions() == [2, 1, 0]
    write(store, removed=[("blog", "c")])
    assert versions() == [3, 2, 0]
    write(store, entries=[entry("wiki")], runs=[run(1, "wiki")], commands=[command("1-1", stack="blog")])
    assert versions() == [3, 3, 1]


def test_what_is_read_is_not_shared_with_the_store(store: Store) -> None:
    attributes = {"list": [1]}
    write(store, entries=[entry(data=attributes)], runs=[run(1, request=attributes)])
    attributes["list"].append(2)
    first = store.run("1")
    assert first is not None
    first.request["list"].append(3)  # type: ignore[attr-defined]
    store.journal()[0].data["list"].append(3)
    again = store.run("1")
    assert again is not None
    assert again.request == store.journal()[0].data == {"list": [1]}


# ------------------------------------------------------------------------------------------------ runs and commands


def test_runs_newest_first_and_limited(store: Store) -> None:
    write(store, runs=[run(number, "blog" if number % 3 == 0 else "shop") for number in range(1, 13)])
    assert [item.id for item in store.runs()] == [str(number) for number in range(12, 0, -1)]
    assert [item.id for item in store.runs(limit=2)] == ["12", "11"]
    assert [item.id for item in store.runs("blog")] == ["12", "9", "6", "3"]
    assert [item.id for item in store.runs("blog", limit=1)] == ["12"]
    assert store.runs(limit=0) == ()
    assert store.runs("nope") == ()


def test_unfinished_runs_are_those_of_the_newest_that_are_running(store: Store) -> None:
    every = [*RunStatus, RunStatus.RUNNING]
    write(store, runs=[run(number, status=status) for number, status in enumerate(every, 1)])
    assert [item.id for item in store.runs(unfinished=True)] == ["6", "1"]
    assert [item.id for item in store.runs("shop", limit=5, unfinished=True)] == ["6"]
    assert store.runs("blog", unfinished=True) == ()


def test_a_run_is_replaced_in_place(store: Store) -> None:
    write(store, runs=[run(1), run(2)])
    done = run(1, status=RunStatus.SUCCESSFUL, completed_at=NOW + timedelta(seconds=5))
    write(store, runs=[done])
    assert store.run("1") == done
    assert [item.id for item in store.runs()] == ["2", "1"]


def test_commands_in_order_of_creation_with_filters(store: Store) -> None:
    write(store, runs=[run(1), run(2, "blog")], commands=[command("z"), command("y"), command("x", 2, "blog")])
    write(store, commands=[command("w", status=CommandStatus.RUNNING), command("z", status=CommandStatus.FAILED)])

    def ids(**filters: object) -> list[str]:
        return [item.id for item in store.commands(**filters)]  # type: ignore[arg-type]

    assert ids() == ["z", "y", "x", "w"]
    assert ids(run="1") == ["z", "y", "w"]
    assert ids(stack="blog") == ["x"]
    assert ids(unfinished=True) == ["y", "x", "w"]
    assert ids(unfinished=True, run="1") == ["y", "w"]
    assert ids(run="1", stack="blog") == []


@pytest.mark.parametrize("status", list(CommandStatus))
def test_unfinished_is_what_is_not_final(store: Store, status: CommandStatus) -> None:
    write(store, runs=[run(1)], commands=[command("a", status=status)])
    assert bool(store.commands(unfinished=True)) is not status.final


def test_run_ids_are_never_given_out_twice(harness: Harness) -> None:
    store = harness.open()
    with store.lease("one") as lease:
        first = [store.next_run_id(lease) for _ in range(3)]
    other = harness.open()
    with other.lease("two") as lease:
        assert [*first, other.next_run_id(lease)] == ["1", "2", "3", "4"]


def test_results_and_nodes(store: Store) -> None:
    write(store, runs=[run(1)], commands=[command("a")], results=[("a", result())], node_snapshots=[("a", node())])
    assert store.result("a") == result()
    assert store.node_snapshot("a") == node()
    write(store, results=[("a", result("again"))])
    assert store.result("a") == result("again")


def node(**more: object) -> NodeSnapshot:
    values = {
        "stack": "shop",
        "name": "app1",
        "layers": ("app",),
        "members": (MemberSnapshot(name="app1", layers=("app",), status="online", data={"x": [1, None, "é"]}),),
        "layer_names": ("app",),
        "event": EventSnapshot(type="setup", reason="test"),
    }
    return NodeSnapshot.model_validate(values | more)


def test_secrets_of_a_node_are_not_stored(store: Store) -> None:
    app = AppSnapshot(
        name="web",
        layers=("app",),
        revision="r",
        release="r",
        deploy_to="/srv/www/web",
        environment={"PIN": "1234", "PORT": "80"},
        secure=("PIN",),
    )
    secret = "correct horse battery staple"
    attributes = {"db": {"password": secret, "url": f"pg://x:{secret}@db", "list": [secret]}, "plain": 5}
    write(
        store,
        runs=[run(1)],
        commands=[command("a")],
        node_snapshots=[("a", node(secrets=(secret, "1234"), attributes=attributes, apps=(app,)))],
    )
    stored = store.node_snapshot("a")
    assert stored is not None
    assert "horse" not in stored.model_dump_json()
    assert "1234" not in stored.model_dump_json()
    assert stored.secrets == ()
    assert stored.attributes["plain"] == 5
    assert stored.apps[0].environment["PORT"] == "80"


def test_a_name_that_contains_a_secret_is_stored_as_it_is(store: Store) -> None:
    app = AppSnapshot(name="storefront", layers=("frontend",), revision="r", release="r", deploy_to="/srv/storefront")
    seen = node(secrets=("storefront", "frontend", "host-1"), name="host-1", layers=("frontend",), apps=(app,))
    write(store, runs=[run(1)], commands=[command("a")], node_snapshots=[("a", seen)])
    assert store.node_snapshot("a") == seen.model_copy(update={"secrets": ()})


def test_values_with_secret_names_are_not_stored(store: Store) -> None:
    app = AppSnapshot(
        name="web", layers=("app",), revision="r", release="r", deploy_to="/srv/web", attributes={"api_key": 12345678}
    )
    write(
        store,
        runs=[run(1)],
        commands=[command("a")],
        node_snapshots=[("a", node(attributes={"db": {"password": "abc", "port": 1}}, apps=(app,)))],
    )
    stored = store.node_snapshot("a")
    assert stored is not None
    assert (stored.attributes["db"]["port"], stored.attributes["db"]["password"]) == (1, MASK)
    assert stored.apps[0].attributes["api_key"] == MASK


def test_big_results(store: Store) -> None:
    big = result("0123456789abcdef" * 600_000)
    write(store, runs=[run(1)], commands=[command("a")], results=[("a", big)])
    assert store.result("a") == big


TEXTS = [
    "",
    "é",
    "日本語 🚀",
    "a\x00b\x1b[31m",
    "'; DROP TABLE runs; --",
    "{0.__class__} %s {{7*7}}",
    "\u202e\ufeff",
    "\r\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(store: Store, text: str) -> None:
    write(
        store,
        entries=[entry(message=text, data={text: [text]}, instance=text)],
        instances=[instance("a", reason=text)],
        runs=[run(1, comment=text)],
        commands=[command("a", detail=text)],
        results=[("a", result(text))],
    )
    assert store.state("shop").instances["a"].reason == text
    assert store.journal(instance=text)[0].data == {text: [text]}
    found = store.run("1")
    assert found is not None
    assert found.comment == text
    assert store.result("a") == result(text)


def test_what_cannot_be_stored_is_refused_whole(store: Store) -> None:
    with store.lease("test") as lease:
        bad = Changes(entries=[entry()], instances=[instance("a"), instance("b", reason="\ud800")])
        with pytest.raises(StoreError, match="instance shop/b"):
            store.commit(lease, bad)
        assert store.journal() == ()
        assert store.state("shop").version == 0
        store.commit(lease, Changes(entries=[entry()], instances=[instance("a")]))
    assert list(store.state("shop").instances) == ["a"]


# ------------------------------------------------------------------------------------------------ journal


def test_journal_ids_grow_and_filters_work(store: Store) -> None:
    written = write(store, entries=[entry(message=str(number)) for number in range(3)])
    assert [item.id for item in written] == [1, 2, 3]
    assert [item.message for item in written] == ["0", "1", "2"]
    more = [
        entry(message="3", instance="app1"),
        entry("blog", message="4", run="7"),
        entry(message="5", run="7", instance="app1"),
    ]
    assert [item.id for item in write(store, entries=more)] == [4, 5, 6]

    def messages(*stack: str, **filters: object) -> str:
        return "".join(item.message for item in store.journal(*stack, **filters))  # type: ignore[arg-type]

    assert messages() == "012345"
    assert messages("shop") == "01235"
    assert messages(run="7") == "45"
    assert messages("shop", run="7") == "5"
    assert messages(instance="app1") == "35"
    assert messages(after=3) == "345"
    assert messages(limit=2) == "45"
    assert messages("shop", limit=2) == "35"
    assert messages(after=1, limit=3) == "345"
    assert messages(after=99) == ""
    assert messages(limit=0) == ""
    assert messages(after=2**70) == ""
    assert messages(limit=2**70) == "012345"


def test_a_journal_entry_comes_back_whole(store: Store) -> None:
    full = entry(run="1", command="1-1", instance="a", data={"n": None, "f": 1.5, "deep": {"x": [True]}})
    (written,) = write(store, entries=[full])
    assert store.journal() == (written,)
    assert written == full.model_copy(update={"id": written.id})


def test_a_change_without_an_entry_is_refused(store: Store) -> None:
    with store.lease("test") as lease, pytest.raises(StoreError, match="journal entry"):
        store.commit(lease, Changes(entries=[], instances=[instance("a")]))
    assert not store.state("shop").instances


def test_a_change_is_written_whole_or_not_at_all(store: Store) -> None:
    write(store, instances=[instance("old")])
    before = (store.state("shop"), store.runs(), store.commands(), store.journal())
    bad = Changes(
        entries=[entry()],
        instances=[instance("new")],
        removed=[("shop", "old")],
        runs=[run(1)],
        commands=[command("a"), command("b", run=99)],
    )
    with store.lease("test") as lease:
        with pytest.raises(StoreError, match="do not exist"):
            store.commit(lease, bad)
        assert (store.state("shop"), store.runs(), store.commands(), store.journal()) == before
        with pytest.raises(StoreError, match="do not exist"):
            store.commit(lease, Changes(entries=[entry()], results=[("nope", result())]))
        assert store.commit(lease, Changes(entries=[entry()]))[0].id == 2


# ------------------------------------------------------------------------------------------------ the lease


def test_one_writer_at_a_time(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    assert two.epoch() == 0
    with one.lease("ann@laptop pid 12: opsflow up shop") as first:
        assert two.epoch() == first.epoch
        harness.clock.advance(60)
        with pytest.raises(LockHeld) as caught, two.lease("bob"):
            pass
        assert "ann@laptop pid 12: opsflow up shop" in caught.value.message
        assert "2026-01-01 00:00:00 UTC" in caught.value.message
        assert "--lock-wait" in (caught.value.hint or "")
        with pytest.raises(LockHeld), one.lease("the same handle, from another thread"):
            pass
        one.commit(first, Changes(entries=[entry()]))
    assert two.epoch() == first.epoch
    with two.lease("bob") as second:
        assert second.epoch == one.epoch() == first.epoch + 1
        assert second.owner == "bob"


def test_waiting_for_the_lease_ends_in_time(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    with one.lease("ann"):
        before = harness.clock.monotonic()
        with pytest.raises(LockHeld, match="ann"), two.lease("bob", wait=30):
            pass
        assert 30 <= harness.clock.monotonic() - before < 31


def test_waiting_for_the_lease_until_it_is_free(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    ready, got = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        with two.lease("bob", wait=1e12):
            got.set()

    thread = threading.Thread(target=wait)
    with one.lease("ann"):
        thread.start()
        ready.wait(5)
        assert not got.wait(0.05)
    thread.join(5)
    assert got.is_set()


def test_the_lease_is_given_back_after_an_error(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    with pytest.raises(ZeroDivisionError), one.lease("ann"):
        raise ZeroDivisionError
    with two.lease("bob"):
        pass


def test_a_lease_that_was_given_back_writes_nothing(store: Store) -> None:
    with store.lease("ann") as lease:
        pass
    with pytest.raises(LockHeld, match="nothing was written"):
        store.commit(lease, Changes(entries=[entry()]))
    with pytest.raises(LockHeld):
        store.next_run_id(lease)
    assert store.journal() == ()


def test_the_lease_of_another_handle_writes_nothing(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    with one.lease("ann") as lease, pytest.raises(LockHeld):
        two.commit(lease, Changes(entries=[entry()]))
    assert one.journal() == ()


def test_a_newer_epoch_fences_off_an_older_one(harness: Harness) -> None:
    one, two = harness.open(), harness.open()
    with one.lease("ann") as old:
        one.commit(old, Changes(entries=[entry(message="before")]))
        harness.break_lock()
        with two.lease("bob") as new:
            with pytest.raises(LockHeld, match=r"ann lost the right.*bob took over"):
                one.commit(old, Changes(entries=[entry(message="stale")], instances=[instance("stale")]))
            with pytest.raises(LockHeld):
                one.next_run_id(old)
            two.commit(new, Changes(entries=[entry(message="after")]))
            assert two.next_run_id(new) == "1"
        with pytest.raises(LockHeld):
            one.commit(old, Changes(entries=[entry(message="stale")]))
    assert [item.message for item in two.journal()] == ["before", "after"]
    assert not two.state("shop").instances


# ------------------------------------------------------------------------------------------------ many at once


def in_threads(*work: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_readers_see_whole_changes_while_others_write(harness: Harness) -> None:
    writer, reader = harness.open(), harness.open()
    done = threading.Event()

    def write_pairs() -> None:
        with writer.lease("writer") as lease:
            for number in range(60):
                pair = [instance(name, reason=str(number)) for name in ("left", "right")]
                writer.commit(lease, Changes(entries=[entry(message=str(number))], instances=pair))
        done.set()

    def read_pairs() -> None:
        last = 0
        while not done.is_set():
            state = reader.state("shop")
            assert len({item.reason for item in state.instances.values()}) <= 1
            assert state.version >= last
            last = state.version

    in_threads(write_pairs, read_pairs, read_pairs)
    assert reader.state("shop").version == 60


def test_many_threads_commit_with_one_lease(store: Store) -> None:
    with store.lease("writer") as lease:

        def work(name: str) -> Callable[[], None]:
            return lambda: [store.commit(lease, Changes(entries=[entry(message=name)])) for _ in range(20)].clear()

        in_threads(*(work(str(number)) for number in range(4)))
        ids = [item.id for item in store.journal()]
    assert ids == list(range(1, 81))
    assert store.state("shop").version == 80


def test_a_new_handle_sees_everything(harness: Harness) -> None:
    write(harness.open(), instances=[instance("a")], runs=[run(1)], commands=[command("c")], results=[("c", result())])
    other = harness.open()
    assert list(other.state("shop").instances) == ["a"]
    assert other.result("c") == result()
    assert [item.id for item in other.journal()] == [1]
