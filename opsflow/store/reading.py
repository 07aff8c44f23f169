"""Queries. Each gets a connection that sees one moment."""

from __future__ import annotations

from sqlalchemy import Connection, select, union

from opsflow.model.command import Command, CommandStatus, Run, RunStatus
from opsflow.model.journal import JournalEntry
from opsflow.model.result import HostResult
from opsflow.model.snapshot import NodeSnapshot
from opsflow.model.state import InstanceState, StackState
from opsflow.store import schema
from opsflow.store.members import Page, joined
from opsflow.store.records import damaged, decode, unpack

LARGEST = 2**63 - 1
UNFINISHED = tuple(status.value for status in CommandStatus if not status.final)


def stacks(connection: Connection) -> tuple[str, ...]:
    """Names of the stacks that have instances or runs, sorted."""
    names = union(select(schema.instances.c.stack), select(schema.runs.c.stack))
    return tuple(sorted(connection.scalars(names)))


def state(connection: Connection, stack: str) -> StackState:
    """The stack as observed."""
    version = connection.scalar(select(schema.stacks.c.version).where(schema.stacks.c.name == stack)) or 0
    table = schema.instances
    query = select(table.c.name, table.c.body).where(table.c.stack == stack).order_by(table.c.seq)
    instances = {
        row.name: decode(InstanceState, row.body, f"instance {stack}/{row.name}") for row in connection.execute(query)
    }
    return StackState(stack=stack, version=version, instances=instances)


def runs(connection: Connection, stack: str | None, limit: int, unfinished: bool) -> tuple[Run, ...]:
    """The newest, newest first; or those of them that are running, for which no other is decoded."""
    table = schema.runs
    query = select(table.c.seq, table.c.id, table.c.status, table.c.body)
    if stack is not None:
        query = query.where(table.c.stack == stack)
    newest = query.order_by(table.c.seq.desc()).limit(_clamped(limit)).subquery()
    chosen = select(newest.c.id, newest.c.body).order_by(newest.c.seq.desc())
    if unfinished:
        chosen = chosen.where(newest.c.status == RunStatus.RUNNING.value)
    return tuple(decode(Run, row.body, f"run {row.id}") for row in connection.execute(chosen))


def run(connection: Connection, run_id: str) -> Run | None:
    """One run."""
    body = connection.scalar(select(schema.runs.c.body).where(schema.runs.c.id == run_id))
    return None if body is None else decode(Run, body, f"run {run_id}")


def commands(connection: Connection, run: str | None, stack: str | None, unfinished: bool) -> tuple[Command, ...]:
    """Commands in order of creation."""
    table = schema.commands
    query = select(table.c.id, table.c.body).order_by(table.c.seq)
    if run is not None:
        query = query.where(table.c.run == run)
    if stack is not None:
        query = query.where(table.c.stack == stack)
    if unfinished:
        query = query.where(table.c.status.in_(UNFINISHED))
    return tuple(decode(Command, row.body, f"command {row.id}") for row in connection.execute(query))


def result(connection: Connection, command: str) -> HostResult | None:
    """The result of a command."""
    table = schema.results
    row = connection.execute(select(table.c.body, table.c.checksum).where(table.c.command == command)).one_or_none()
    return None if row is None else unpack(HostResult, row.body, row.checksum, f"the result of command {command}")


def node(connection: Connection, command: str) -> NodeSnapshot | None:
    """What the recipes of a command saw."""
    row = connection.execute(
        select(schema.node_snapshots).where(schema.node_snapshots.c.command == command)
    ).one_or_none()
    if row is None:
        return None
    what = f"the node of command {command}"
    own = unpack(NodeSnapshot, row.body, row.checksum, what)
    return joined(own, [page(connection, digest, what) for digest in row.pages.split()])


def page(connection: Connection, digest: str, what: str) -> Page:
    """A page of members.

    Raises:
        StoreError: it is missing; ``what`` names who needs it.
    """
    body = connection.scalar(select(schema.member_pages.c.body).where(schema.member_pages.c.digest == digest))
    if body is None:
        raise damaged(what, f"the page {digest[:12]} of its members is missing")
    return Page(digest, body)


def journal(
    connection: Connection, stack: str | None, run: str | None, instance: str | None, after: int, limit: int
) -> tuple[JournalEntry, ...]:
    """The newest entries above ``after``, oldest first."""
    table = schema.journal
    query = select(table.c.id, table.c.body).where(table.c.id > _clamped(after))
    for column, value in ((table.c.stack, stack), (table.c.run, run), (table.c.instance, instance)):
        if value is not None:
            query = query.where(column == value)
    newest = connection.execute(query.order_by(table.c.id.desc()).limit(_clamped(limit))).all()
    return tuple(
        decode(JournalEntry, row.body, f"journal entry {row.id}").model_copy(update={"id": row.id})
        for row in reversed(newest)
    )


def _clamped(number: int) -> int:
    return min(max(0, number), LARGEST)
