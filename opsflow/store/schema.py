"""The tables. A migration makes them; a test holds that both say the same."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0002"
"""The newest migration, repeated here so that an up-to-date store opens without loading Alembic."""

metadata = MetaData()

writer = Table(
    "writer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("since", String(40)),
    Column("last_run", Integer, nullable=False),
    Column("store", String(32), nullable=False),
    CheckConstraint("id = 1", name="one_writer"),
)
"""One row: who writes, the last run id that was given out, and the random name of this store."""

stacks = Table(
    "stacks",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("version", Integer, nullable=False),
)

instances = Table(
    "instances",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("stack", String(40), nullable=False),
    Column("name", String(63), nullable=False),
    Column("status", String(20), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("stack", "name", name="instance_name"),
)

runs = Table(
    "runs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("stack", String(40), nullable=False),
    Column("status", String(20), nullable=False),
    Column("body", Text, nullable=False),
    Index("runs_by_stack", "stack", "seq"),
)

commands = Table(
    "commands",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String(80), nullable=False, unique=True),
    Column("run", String(40), ForeignKey("runs.id"), nullable=False),
    Column("stack", String(40), nullable=False),
    Column("instance", String(63), nullable=False),
    Column("status", String(20), nullable=False),
    Column("body", Text, nullable=False),
    Index("commands_by_run", "run", "seq"),
    Index("commands_by_stack", "stack", "seq"),
    Index("commands_by_status", "status", "seq"),
)


def _of_commands(name: str, *more: Column[str]) -> Table:
    """Something big that each command has once, compressed."""
    return Table(
        name,
        metadata,
        Column("command", String(80), ForeignKey("commands.id"), primary_key=True),
        Column("body", LargeBinary, nullable=False),
        Column("checksum", String(64), nullable=False),
        *more,
    )


results = _of_commands("results")
node_snapshots = _of_commands("node_snapshots", Column("pages", Text, nullable=False, server_default=""))
"""Without the members: ``pages`` names where these are, one digest a line."""

member_pages = Table(
    "member_pages",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("stack", String(40), nullable=False),
    Column("run", String(40)),
    Column("instance", String(63)),
    Column("kind", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Index("journal_by_stack", "stack", "id"),
    Index("journal_by_run", "run", "id"),
    Index("journal_by_instance", "stack", "instance", "id"),
)
