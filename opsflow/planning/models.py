"""A plan: what would be done, why, and what it was made from. Plain data that survives a round trip through JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from opsflow.errors import StalePlan
from opsflow.model.base import Model


class StepKind(StrEnum):
    """What is done to one instance."""

    CREATE = "create"
    """Ask the provider for a machine and wait until it answers."""
    START = "start"
    """Start its machine (or go on with a start) and wait until it answers."""
    RECONNECT = "reconnect"
    """See whether it answers again."""
    SETUP = "setup"
    DEPLOY = "deploy"
    UNDEPLOY = "undeploy"
    CONFIGURE = "configure"
    EXECUTE = "execute"
    """Run recipes that are not bound to an event."""
    SHUTDOWN = "shutdown"
    """Run the shutdown recipes only; nothing is stopped."""
    STOP = "stop"
    """Shutdown recipes, then stop the machine, which keeps its disk."""
    TERMINATE = "terminate"
    """Shutdown recipes, then end the machine, delete its disk and forget the instance."""


LEAVES = (StepKind.STOP, StepKind.TERMINATE)
"""What takes an instance away."""


class Step(Model):
    """One thing to do to one instance."""

    kind: StepKind
    instance: str
    reason: str
    """Why, in words."""
    recipes: tuple[str, ...] = ()
    """What runs on the machine, in order."""
    apps: tuple[str, ...] = ()
    """The apps that are deployed or undeployed."""
    existing: bool = False
    """Whether the machine that it takes or leaves was there before and stays: one of an inventory."""


class Fingerprint(Model):
    """What a plan was made from."""

    stack_file: str
    """Digest of the stack file."""
    recipes: str
    """Digest of the recipes that the stack binds, with their templates and files."""
    state: int
    """Version of the observed state."""
    machines: Mapping[str, str] = Field(default_factory=dict)
    """Instance -> what the provider says of its machine, or of the existing one that it would get."""
    sources: Mapping[str, str] | None = None
    """App that would be deployed -> its revision; None when nobody fetched them for that."""

    def check(self, now: Fingerprint) -> None:
        """Refuse to go on when something changed since.

        Raises:
            StalePlan: it says what changed.
        """
        changed = []
        if self.stack_file != now.stack_file:
            changed.append("the stack file")
        if self.recipes != now.recipes:
            changed.append("the recipes")
        if self.state != now.state:
            changed.append(f"the state of the stack (version {self.state}, now {now.state})")
        changed += _differing("the machine of", self.machines, now.machines)
        changed += _differing("the source of", self.sources or {}, now.sources or {})
        if changed:
            raise StalePlan(
                f"the plan is out of date: {' and '.join(changed)} changed since it was made", hint="make a new plan"
            )


def _differing(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield f"{what} {name} ({before.get(name, 'none')}, now {now.get(name, 'none')})"


class Plan(Model):
    """What would be done to a stack. The steps of one instance follow one another, instances go in parallel."""

    stack: str
    action: str
    """up, destroy, setup, execute_recipes ..."""
    made_at: datetime
    fingerprint: Fingerprint
    steps: tuple[Step, ...] = ()
    batches: tuple[tuple[str, ...], ...] = ()
    """The online instances that are set up again, when not all at once: each batch follows when the one before is
    online again. All others go with the first one."""
    notes: tuple[str, ...] = ()
    """What the user should know although no step follows from it."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps

    def of(self, *kinds: StepKind) -> Iterator[Step]:
        """The steps of these kinds."""
        return (step for step in self.steps if step.kind in kinds)

    def chains(self) -> dict[str, tuple[Step, ...]]:
        """Per instance what is done to it, in order, without configure."""
        return chains_of(self.steps)


def chains_of(steps: Iterable[Step]) -> dict[str, tuple[Step, ...]]:
    """Per instance what is done to it, in order, without configure."""
    chains: dict[str, tuple[Step, ...]] = {}
    for step in steps:
        if step.kind is not StepKind.CONFIGURE:
            chains[step.instance] = (*chains.get(step.instance, ()), step)
    return chains
