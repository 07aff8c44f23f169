"""YAML files to models, every error with file, line and column."""

from __future__ import annotations

from opsflow.config.stacks import LoadedStack, find_stack, list_stacks, load_stack

__all__ = ["LoadedStack", "find_stack", "list_stacks", "load_stack"]
