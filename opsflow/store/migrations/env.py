"""Alembic's entry: runs the migrations on the connection that it is given, all of them in its one transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
