"""Digests of what a run is made from: equal digests mean that there is nothing to run again."""

from __future__ import annotations

from typing import Any

from opsflow.controller.parts import Parts
from opsflow.controller.snapshots import AppsNow, node_snapshot
from opsflow.lifecycle.runlists import layers_run_list, stack_recipes
from opsflow.model.events import LifecycleEvent
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.model.state import StackState
from opsflow.planning.inputs import Inputs, digest_of


class Digests:
    """Digests of recipes, read once while this lives."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._recipes: dict[tuple[str, ...], str] = {}
        self._members: tuple[tuple[MemberSnapshot, ...], str] = ((), digest_of([]))

    def inputs(self, observed: StackState) -> Inputs:
        """What planning needs."""
        functions = self._parts.catalog.modules()
        return Inputs(
            functions=functions,
            digest=lambda name, event: self._expected(observed, name, event),
            stack_file=self._parts.context.digest,
            recipes=self.recipes(stack_recipes(self._parts.stack, functions)),
        )

    def recipes(self, names: tuple[str, ...]) -> str:
        """Digest of recipes with everything they are made of."""
        if names not in self._recipes:
            self._recipes[names] = self._parts.catalog.digest(names) if names else ""
        return self._recipes[names]

    def of(self, event: LifecycleEvent, recipes: tuple[str, ...], node: NodeSnapshot) -> str:
        """Digest of a run of ``event`` on ``node``. For configure it covers who is online, and where."""
        made_from: dict[str, Any] = {
            "recipes": recipes,
            "content": self.recipes(recipes),
            "attributes": node.attributes,
            "layers": node.layers,
            "packages": node.packages,
        }
        if event is LifecycleEvent.CONFIGURE:
            made_from["online"] = self._online(node.members)
        return digest_of(made_from)

    def _online(self, members: tuple[MemberSnapshot, ...]) -> str:
        """Who is online, and where; the nodes of one moment share their members."""
        known, digest = self._members
        if known is not members:
            digest = digest_of(sorted(_identity(member) for member in members if member.online))
            self._members = members, digest
        return digest

    def _expected(self, observed: StackState, name: str, event: LifecycleEvent) -> str:
        stack = self._parts.stack
        node = node_snapshot(
            stack,
            observed,
            name,
            EventSnapshot(type=event, reason=""),
            over={},
            apps=AppsNow(),
            neighbours=self._parts.neighbours,
        )
        recipes = layers_run_list(stack, node.layers, event, self._parts.catalog.modules())
        return self.of(event, recipes, node)


def _identity(member: MemberSnapshot) -> str:
    return member.model_dump_json(exclude={"status"})
