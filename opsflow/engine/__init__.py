"""Recipes to pyinfra operations to one verified script to SSH to results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsflow.engine.engine import PyinfraEngine

__all__ = ["PyinfraEngine"]


def __getattr__(name: str) -> Any:
    # Recipes import opsflow.engine.node through the package; they must not pay for paramiko.
    if name == "PyinfraEngine":
        from opsflow.engine.engine import PyinfraEngine

        return PyinfraEngine
    raise AttributeError(f"module 'opsflow.engine' has no attribute '{name}'")
