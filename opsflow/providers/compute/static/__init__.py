"""Machines that exist already, from an inventory in one of the formats that people have."""

from __future__ import annotations

from opsflow.providers.compute.static.provider import StaticProvider

__all__ = ["StaticProvider"]
