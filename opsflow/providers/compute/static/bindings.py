"""Which inventory host is which instance: one record file each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from opsflow.clock import Clock
from opsflow.errors import ProviderError
from opsflow.providers.compute.files import write_atomic
from opsflow.providers.compute.locks import locked
from opsflow.providers.compute.static.inventory import Host


class Binding(BaseModel):
    """One host that is in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    stack: str
    instance: str
    host: Host
    """As the inventory described it when it was last read."""
    stopped: bool = False
    bound_at: datetime


class Bindings:
    """The records of one project."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from binding."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._directory / "lock", self._clock):
            yield

    def read(self, token: str) -> Binding | None:
        """The record of that token."""
        try:
            return Binding.model_validate_json(self.file(token).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ProviderError(f"the record of a host is damaged: {self.file(token)}: {error}") from error

    def list(self) -> Iterator[Binding]:
        """All records, oldest first."""
        found = (self.read(path.stem) for path in self._directory.glob("*.json"))
        yield from sorted(
            (binding for binding in found if binding), key=lambda binding: (binding.bound_at, binding.token)
        )

    def write(self, binding: Binding) -> Binding:
        """Keep the record, durably."""
        write_atomic(self.file(binding.token), binding.model_dump_json(indent=1))
        return binding

    def remove(self, token: str) -> None:
        """Forget it."""
        self.file(token).unlink(missing_ok=True)

    def file(self, token: str) -> Path:
        """Where the record is."""
        return self._directory / f"{token}.json"
