"""What sandboxes there are: one record file each, written before anything is made and removed last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from opsflow.clock import Clock
from opsflow.errors import ProviderError
from opsflow.providers.compute import locks
from opsflow.providers.compute.files import write_atomic
from opsflow.providers.compute.sandbox.options import Options


class Record(BaseModel):
    """One sandbox. Without address and key it was only just asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    stack: str
    instance: str
    options: Options
    created_at: datetime
    address: str | None = None
    port: int | None = None
    host_key: str | None = None
    """Public half; the private one is inside the sandbox only."""
    wanted: bool = True
    """Whether it is meant to run."""
    cgroups: tuple[Path, ...] = ()
    furnished: bool = False
    """Whether the disk holds everything that a sandbox needs to start."""


class Registry:
    """The records of one project, and a lock for each."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._records = directory / "records"
        self._locks = directory / "locks"
        self._clock = clock

    def file(self, token: str) -> Path:
        """The record file; it exists exactly as long as the sandbox does."""
        return self._records / f"{token}.json"

    def read(self, token: str) -> Record | None:
        """The record of that token."""
        path = self.file(token)
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ProviderError(f"the record of a sandbox is damaged: {path}: {error}") from error

    def list(self) -> Iterator[Record]:
        """All records, oldest first."""
        found = (self.read(path.stem) for path in self._records.glob("*.json"))
        yield from sorted((record for record in found if record), key=lambda record: (record.created_at, record.token))

    def write(self, record: Record) -> Record:
        """Keep the record, durably."""
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.file(record.token), record.model_dump_json(indent=1))
        return record

    def remove(self, token: str) -> None:
        """Forget it."""
        self.file(token).with_name(f"{token}.json.tmp").unlink(missing_ok=True)
        self.file(token).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self, token: str) -> Iterator[int]:
        """Keep others away from one sandbox; gives the lock's descriptor. The lock file goes with the record."""
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._locks / token
        with locks.locked(path, self._clock) as descriptor:
            yield descriptor
            if not self.file(token).exists():
                path.unlink(missing_ok=True)

    def busy(self, token: str) -> bool:
        """Whether somebody works on that sandbox now."""
        return locks.held(self._locks / token)
