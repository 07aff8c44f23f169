"""The first tables.

Revision: 0001
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of state, runs and journal."""
    _ownership()
    _state()
    _work()
    _outcomes()
    _journal()


def _ownership() -> None:
    writer = op.create_table(
        "writer",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("since", sa.String(40)),
        sa.Column("last_run", sa.Integer, nullable=False),
        sa.Column("store", sa.String(32), nullable=False),
        sa.CheckConstraint("id = 1", name="one_writer"),
    )
    row = {"id": 1, "epoch": 0, "owner": "", "last_run": 0, "store": secrets.token_hex(16)}
    op.bulk_insert(writer, [row])


def _state() -> None:
    op.create_table(
        "stacks",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_table(
        "instances",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("stack", sa.String(40), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("stack", "name", name="instance_name"),
    )


def _work() -> None:
    op.create_table(
        "runs",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("stack", sa.String(40), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("runs_by_stack", "runs", ["stack", "seq"])
    op.create_table(
        "commands",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(80), nullable=False, unique=True),
        sa.Column("run", sa.String(40), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("stack", sa.String(40), nullable=False),
        sa.Column("instance", sa.String(63), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    for column in ("run", "stack", "status"):
        op.create_index(f"commands_by_{column}", "commands", [column, "seq"])


def _outcomes() -> None:
    for table in ("results", "node_snapshots"):
        op.create_table(
            table,
            sa.Column("command", sa.String(80), sa.ForeignKey("commands.id"), primary_key=True),
            sa.Column("body", sa.LargeBinary, nullable=False),
            sa.Column("checksum", sa.String(64), nullable=False),
        )


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stack", sa.String(40), nullable=False),
        sa.Column("run", sa.String(40)),
        sa.Column("instance", sa.String(63)),
        sa.Column("kind", sa.String(80), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("journal_by_stack", "journal", ["stack", "id"])
    op.create_index("journal_by_run", "journal", ["run", "id"])
    op.create_index("journal_by_instance", "journal", ["stack", "instance", "id"])
