"""Whether the store is whole."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Table, select, text

from opsflow.errors import StoreError
from opsflow.model.base import Model
from opsflow.model.command import Command, Run
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult
from opsflow.model.snapshot import NodeSnapshot
from opsflow.model.state import InstanceState
from opsflow.store import schema
from opsflow.store.members import Page, unpaged
from opsflow.store.records import decode, unpack
from opsflow.store.writing import last_entry

LOSS_HINT = (
    "put the newest copy back, with its -wal file; to go on with this one, whatever was lost, delete {lock} "
    "and see what `opsflow plan` says about the machines that exist"
)

PLAIN: tuple[tuple[Table, type[Model], str, str], ...] = (
    (schema.instances, InstanceState, "name", "instance"),
    (schema.runs, Run, "id", "run"),
    (schema.commands, Command, "id", "command"),
    (schema.journal, JournalEntry, "id", "journal entry"),
)
PACKED: tuple[tuple[Table, type[Model], str], ...] = (
    (schema.results, HostResult, "the result"),
    (schema.node_snapshots, NodeSnapshot, "the node"),
)


def lost_entries(connection: Connection, mark: int) -> str | None:
    """What is missing when the journal ends before the last entry that was acknowledged."""
    last = last_entry(connection)
    if last >= mark:
        return None
    return (
        f"it ends at journal entry {last}, but entry {mark} was written once: "
        "its -wal file was deleted, or an old copy was put in its place"
    )


def problems(connection: Connection, mark: int) -> list[str]:
    """Everything that is wrong, one line each."""
    broken = [line for line in connection.scalars(text("PRAGMA integrity_check")) if line != "ok"]
    if broken:
        # What cannot be read as a database is not worth reading as records.
        return broken
    lost = lost_entries(connection, mark)
    return [*([lost] if lost else []), *_orphans(connection), *_unreadable(connection)]


def _orphans(connection: Connection) -> Iterator[str]:
    for row in connection.execute(text("PRAGMA foreign_key_check")):
        yield f"a row of {row[0]} refers to a missing row of {row[2]}"


def _unreadable(connection: Connection) -> Iterator[str]:
    for table, kind, key, what in PLAIN:
        for row in connection.execute(select(table.c[key].label("key"), table.c.body)):
            try:
                decode(kind, row.body, f"{what} {row.key}")
            except StoreError as error:
                yield error.message
    yield from _pages(connection)
    for table, kind, what in PACKED:
        for row in connection.execute(select(table)):
            try:
                unpack(kind, row.body, row.checksum, f"{what} of command {row.command}")
            except StoreError as error:
                yield error.message


def _pages(connection: Connection) -> Iterator[str]:
    """Pages of members that are damaged, or missing though a node needs them."""
    there = set()
    for row in connection.execute(select(schema.member_pages)):
        there.add(row.digest)
        try:
            unpaged(Page(row.digest, row.body))
        except StoreError as error:
            yield error.message
    table = schema.node_snapshots
    for row in connection.execute(select(table.c.command, table.c.pages)):
        for digest in set(row.pages.split()) - there:
            yield f"the node of command {row.command} is damaged in the store: its page {digest[:12]} is missing"
