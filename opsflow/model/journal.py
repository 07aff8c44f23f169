"""The journal: one entry for everything that happened, written in the same transaction as the change."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from opsflow.model.attributes import Attributes
from opsflow.model.base import Model


class JournalEntry(Model):
    """One thing that happened. ``kind`` is a noun and a past participle: ``instance.created``, ``command.failed``."""

    id: int = 0
    """Given by the store, growing."""
    at: datetime
    stack: str
    kind: str = Field(pattern=r"^[a-z]+\.[a-z_]+$")
    message: str
    run: str | None = None
    command: str | None = None
    instance: str | None = None
    data: Attributes = Field(default_factory=dict)
