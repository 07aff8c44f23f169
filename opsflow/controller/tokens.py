"""The names by which a provider knows our machines: derived from the intent, so that a crash orphans none."""

from __future__ import annotations

import hashlib

from opsflow.ports import Store

_LOOK_BACK = 200
"""Journal entries of an instance that are searched for its last generation."""


def token_of(stack: str, instance: str, generation: int) -> str:
    """The idempotency token of the ``generation``-th machine of an instance."""
    return hashlib.sha256(f"{stack}/{instance}/{generation}".encode()).hexdigest()[:40]


def last_generation(store: Store, stack: str, instance: str) -> int:
    """How many machines an instance has had, also when its record was deleted meanwhile; 0 for a new one.

    A token is never used again: some providers answer it with the machine that is gone.
    """
    entries = store.journal(stack, instance=instance, limit=_LOOK_BACK)
    numbers = (entry.data.get("generation") for entry in reversed(entries))
    return next((int(number) for number in numbers if number), 0)
