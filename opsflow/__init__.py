"""opsflow: stacks, layers, instances and lifecycle recipes over SSH.

The names exported here are what recipe authors may import; a test pins them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes a seventh of the time that a warm call has
if TYPE_CHECKING:
    from typing import Any

    from opsflow.engine.node import AppView, EventView, LayerView, MemberView, Node, StackView

__all__ = ["AppView", "EventView", "LayerView", "MemberView", "Node", "StackView"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `opsflow --help` must not pay for the models.
    if name in __all__:
        from opsflow.engine import node

        return getattr(node, name)
    raise AttributeError(f"module 'opsflow' has no attribute '{name}'")
