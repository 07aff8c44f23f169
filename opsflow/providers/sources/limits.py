"""How much of a source is taken before it is called a bomb."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one source."""

    files: int = 100_000
    bytes: int = 2 * GIB
    """Unpacked."""
    archive: int = 2 * GIB
    """Packed, on disk or from the network."""
    ratio: int = 200
    """Unpacked to packed size, once more than ``ratio_from`` bytes came out."""
    ratio_from: int = 64 * MIB
    path: int = 1024
    """Bytes of one path."""
    seconds: float = 300.0
    """For one download or one git command."""
