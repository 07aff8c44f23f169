"""Recipes to pyinfra operations to one verified script to SSH to results."""

from __future__ import annotations

TYPE_CHECKING = False  # see opsflow/__init__.py
if TYPE_CHECKING:
    from typing import Any

    from opsflow.engine.engine import PyinfraEngine

__all__ = ["PyinfraEngine"]


def __getattr__(name: str) -> Any:
    # Recipes import opsflow.engine.node through the package; they must not pay for paramiko.
    if name == "PyinfraEngine":
        from opsflow.engine.engine import PyinfraEngine

        return PyinfraEngine
    raise AttributeError(f"module 'opsflow.engine' has no attribute '{name}'")
