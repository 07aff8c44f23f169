"""YAML files to models, every error with file, line and column."""

from __future__ import annotations

from opsflow.config.explain import Explanation, Level, Part, explain
from opsflow.config.schema import stack_schema
from opsflow.config.stacks import LoadedStack, find_stack, list_stacks, load_stack

__all__ = [
    "Explanation",
    "Level",
    "LoadedStack",
    "Part",
    "explain",
    "find_stack",
    "list_stacks",
    "load_stack",
    "stack_schema",
]
