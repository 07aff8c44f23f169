"""What nodes know of other instances, in pages that they share.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Nodes that are there keep their members; new ones name the pages that have them."""
    op.create_table(
        "member_pages",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.add_column("node_snapshots", sa.Column("pages", sa.Text, nullable=False, server_default=""))
