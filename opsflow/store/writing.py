"""Changes as rows: encoded before the transaction, written in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.dialects.sqlite import Insert, insert

from opsflow.model.journal import JournalEntry
from opsflow.ports import Changes, Lease
from opsflow.store import schema
from opsflow.store.members import Page, Pages
from opsflow.store.records import encode, pack, touched, without_own_secrets

Row = Mapping[str, object]

# Made once, as those below: it takes longer to say them than to do them.
_APPENDING = schema.journal.insert()
_LAST_ENTRY = select(func.max(schema.journal.c.id))
_OWNERSHIP = select(schema.writer.c.epoch, schema.writer.c.owner, schema.writer.c.since)


@dataclass(frozen=True, slots=True)
class Rows:
    """What :class:`~opsflow.ports.Changes` become in the tables."""

    entries: Sequence[JournalEntry]
    stacks: Sequence[str]
    removed: Sequence[tuple[str, str]]
    instances: Sequence[Row]
    runs: Sequence[Row]
    commands: Sequence[Row]
    results: Sequence[Row]
    node_snapshots: Sequence[Row]
    journal: Sequence[Row]
    pages: Sequence[Page]
    """Those of the node snapshots that may not be there yet."""


def rows(changes: Changes, pages: Pages) -> Rows:
    """Encode the changes; fails before anything is written when one cannot be encoded."""
    paged = {key: pages.of(node) for key, node in changes.node_snapshots}
    return Rows(
        entries=changes.entries,
        stacks=touched(changes),
        removed=changes.removed,
        instances=[
            {"stack": s.stack, "name": s.name, "status": s.status, "body": encode(s, f"instance {s.stack}/{s.name}")}
            for s in changes.instances
        ],
        runs=[
            {"id": r.id, "stack": r.stack, "status": r.status, "body": encode(r, f"run {r.id}")} for r in changes.runs
        ],
        commands=[
            {
                "id": c.id,
                "run": c.run,
                "stack": c.stack,
                "instance": c.instance,
                "status": c.status,
                "body": encode(c, f"command {c.id}"),
            }
            for c in changes.commands
        ],
        results=[_packed(key, *pack(result, f"the result of command {key}")) for key, result in changes.results],
        node_snapshots=[
            {
                **_packed(key, *pack(without_own_secrets(node), f"the node of command {key}")),
                "pages": "\n".join(page.digest for page in paged[key]),
            }
            for key, node in changes.node_snapshots
        ],
        pages=pages.unwritten(page for each in paged.values() for page in each),
        journal=[
            {
                "stack": e.stack,
                "run": e.run,
                "instance": e.instance,
                "kind": e.kind,
                "body": encode(e.model_copy(update={"id": 0}), "a journal entry"),
            }
            for e in changes.entries
        ],
    )


def _packed(command: str, body: bytes, checksum: str) -> Row:
    return {"command": command, "body": body, "checksum": checksum}


def write(connection: Connection, rows: Rows) -> tuple[JournalEntry, ...]:
    """Write all rows; returns the journal entries with their ids."""
    for stack, name in rows.removed:
        table = schema.instances
        connection.execute(table.delete().where(table.c.stack == stack, table.c.name == name))
    _upsert(connection, schema.instances, rows.instances, "stack", "name")
    _upsert(connection, schema.runs, rows.runs, "id")
    _upsert(connection, schema.commands, rows.commands, "id")
    _upsert(connection, schema.results, rows.results, "command")
    _upsert(connection, schema.node_snapshots, rows.node_snapshots, "command")
    if rows.pages:
        pages = [{"digest": page.digest, "body": page.body} for page in rows.pages]
        connection.execute(insert(schema.member_pages).on_conflict_do_nothing(), pages)
    for stack in rows.stacks:
        _bump(connection, stack)
    return _append(connection, rows)


def _upsert(connection: Connection, table: Table, values: Sequence[Row], *key: str) -> None:
    """Insert, or replace in place: a row keeps its number, which is the order of creation."""
    if values:
        connection.execute(_upserting(table, tuple(values[0]), key), list(values))


@lru_cache
def _upserting(table: Table, names: tuple[str, ...], key: tuple[str, ...]) -> Insert:
    """Made once: it takes longer to say it than to do it."""
    statement = insert(table)
    replaced = {name: statement.excluded[name] for name in names if name not in key}
    return statement.on_conflict_do_update(index_elements=list(key), set_=replaced)


def _bump(connection: Connection, stack: str) -> None:
    connection.execute(_bumping(), {"name": stack, "version": 1})


@lru_cache
def _bumping() -> Insert:
    bumped = {"version": schema.stacks.c.version + 1}
    return insert(schema.stacks).on_conflict_do_update(index_elements=["name"], set_=bumped)


def _append(connection: Connection, rows: Rows) -> tuple[JournalEntry, ...]:
    first = last_entry(connection) + 1
    numbered = [{"id": first + offset, **row} for offset, row in enumerate(rows.journal)]
    connection.execute(_APPENDING, numbered)
    return tuple(entry.model_copy(update={"id": first + offset}) for offset, entry in enumerate(rows.entries))


def last_entry(connection: Connection) -> int:
    """The id of the newest journal entry; 0 when there is none."""
    return connection.scalar(_LAST_ENTRY) or 0


@dataclass(frozen=True, slots=True)
class Ownership:
    """The row that says who writes."""

    epoch: int
    owner: str
    since: datetime | None


def ownership(connection: Connection) -> Ownership:
    """Who writes, or wrote last."""
    row = connection.execute(_OWNERSHIP).one()
    return Ownership(row.epoch, row.owner, datetime.fromisoformat(row.since) if row.since else None)


def take_over(connection: Connection, owner: str, since: datetime) -> Lease:
    """Become the writer; returns the new lease."""
    update = schema.writer.update().values(epoch=schema.writer.c.epoch + 1, owner=owner, since=since.isoformat())
    row = connection.execute(update.returning(schema.writer.c.epoch, schema.writer.c.store)).one()
    return Lease(int(row.epoch), owner, str(row.store))


def count_run(connection: Connection) -> str:
    """The next run id."""
    update = text("UPDATE writer SET last_run = last_run + 1 RETURNING last_run")
    return str(connection.execute(update).scalar_one())
