"""What the store says when somebody else owns it."""

from __future__ import annotations

from datetime import datetime

from opsflow.errors import LockHeld
from opsflow.ports import Lease

WAIT_HINT = "wait for it with --lock-wait SECONDS, or end it; reading (status, runs, events) works meanwhile"


def held_by(owner: str | None, since: datetime | None) -> LockHeld:
    """Another one holds the lease."""
    who = owner or "another process"
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
    return LockHeld(f"the state is in use by {who}{when}", hint=WAIT_HINT)


def lost(lease: Lease, epoch: int, owner: str) -> LockHeld:
    """A newer lease has taken over; nothing was written."""
    return LockHeld(
        f"{lease.owner} lost the right to write (epoch {lease.epoch}): "
        f"{owner or 'another process'} took over (epoch {epoch}); nothing was written",
        hint="run the command again: it sees what the other one did",
    )


def not_held(lease: Lease) -> LockHeld:
    """The lease was given back before; nothing was written."""
    return LockHeld(f"{lease.owner} gave back the right to write (epoch {lease.epoch}); nothing was written")
