"""explain: why an attribute has its value."""

from __future__ import annotations

from opsflow.cli.options import commands

app = commands()
