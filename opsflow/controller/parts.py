"""What every use case works with."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

from opsflow.clock import Clock
from opsflow.controller.context import Observer, StackContext
from opsflow.controller.neighbours import Neighbours
from opsflow.lifecycle.coalescing import DEBOUNCE
from opsflow.model.stack import Stack
from opsflow.ports import AppSources, ComputeProvider, Engine, Lease, RecipeCatalog, Store
from opsflow.redact import Redactor


class Locks:
    """One lock an instance: its commands run one at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    def of(self, instance: str) -> threading.RLock:
        """The lock of that instance."""
        with self._guard:
            return self._locks[instance]


@dataclass(frozen=True, slots=True)
class Parts:
    """The stack, the adapters and the right to write."""

    context: StackContext
    store: Store
    lease: Lease | None
    """None: only reading."""
    compute: ComputeProvider
    engine: Engine
    catalog: RecipeCatalog
    sources: AppSources
    clock: Clock
    observe: Observer
    redact: Redactor
    parallel: int = 50
    debounce: float = DEBOUNCE
    locks: Locks = field(default_factory=Locks)
    neighbours: Neighbours = field(default_factory=Neighbours)

    @property
    def stack(self) -> Stack:
        """The stack as declared."""
        return self.context.stack
