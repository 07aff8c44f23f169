"""Machines on this machine."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.providers.compute.sandbox import bases, cgroups, identity, images
from opsflow.providers.compute.sandbox.addresses import AddressBook, Endpoint
from opsflow.providers.compute.sandbox.disk import Disk
from opsflow.providers.compute.sandbox.keys import KeyPair, ProjectKey
from opsflow.providers.compute.sandbox.options import Options
from opsflow.providers.compute.sandbox.places import Places
from opsflow.providers.compute.sandbox.processes import Process
from opsflow.providers.compute.sandbox.registry import Record, Registry
from opsflow.providers.compute.sandbox.spawn import PROCESS_FILE, spawn

GRACE = 3.0
"""Seconds that the processes of a sandbox have to end when it is stopped."""


P = ParamSpec("P")
R = TypeVar("R")


def _translated(method: Callable[P, R]) -> Callable[P, R]:
    """What the operating system refuses is the provider's failure, also where nobody thought of it."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except OSError as error:
            raise ProviderError(f"sandbox: {method.__name__} failed: {error}") from error

    return call


class SandboxProvider:
    """Makes sandboxes: namespaces, a copy-on-write root and an sshd each, with no cloud and no container engine.

    They run on when opsflow ends, and no mount of theirs exists outside them.
    """

    name = "sandbox"
    powers = True

    def __init__(self, directory: Path, clock: Clock, addresses: AddressBook | None = None) -> None:
        """Keep all state in ``directory``, usually ``.opsflow/sandbox`` of the project."""
        self._directory = directory.absolute()
        # Another project may have a stack and an instance of the same name, hence the same token.
        self._mark = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:8]
        self._clock = clock
        self._addresses = addresses or AddressBook(clock)
        self._registry = Registry(self._directory, clock)
        self._places = Places(self._directory, clock)
        self._key = ProjectKey(self._directory, clock)
        # Everything of the project stays out of sandboxes: other stacks' state, keys, the store.
        parent = self._directory.parent
        self._project = parent.parent if parent.name == ".opsflow" else parent

    @_translated
    def check(self) -> None:
        """Try everything that a sandbox needs, for real; then :attr:`unbounded` says whether disks have a size.

        Raises:
            CapabilityError: something is missing.
        """
        bases.check_system()
        bases.check_base(bases.MACHINE)
        self._places.check()

    @property
    def unbounded(self) -> str:
        """Why sandboxes may fill this machine's disk; empty when each has a disk of a fixed size."""
        return self._places.unbounded.message if self._places.unbounded else ""

    @_translated
    def create(self, request: MachineRequest) -> Machine:
        """Make and start the sandbox of the token, or bring a half-made one to an end."""
        bases.check_system()
        options = Options.parse(request.options)
        self._base(options)
        with self._registry.locked(request.token) as lock:
            record = self._registry.read(request.token)
            if record is None or not record.furnished:
                record = self._registry.write(
                    Record(
                        token=request.token,
                        stack=request.stack,
                        instance=request.instance,
                        options=options,
                        created_at=record.created_at if record else self._clock.now(),
                    )
                )
            return self._run(record, lock)

    @_translated
    def find(self, token: str) -> Machine | None:
        """The sandbox of that token as it is now."""
        record = self._registry.read(token)
        return self._machine(record) if record and self._whole(record) else None

    @_translated
    def list(self, stack: str) -> Sequence[Machine]:
        """The sandboxes of that stack, oldest first."""
        mine = (record for record in self._registry.list() if record.stack == stack)
        return [self._machine(record) for record in mine if self._whole(record)]

    def prospect(self, host: str) -> Machine | None:
        """None: machines are made."""
        return None

    @_translated
    def start(self, machine: Machine) -> Machine:
        """Start it with the disk and the host key that it had."""
        with self._registry.locked(machine.token) as lock:
            return self._run(self._known(machine), lock)

    @_translated
    def stop(self, machine: Machine) -> Machine:
        """End its processes, gently first; its disk stays."""
        with self._registry.locked(machine.token):
            record = self._registry.write(self._known(machine).model_copy(update={"wanted": False}))
            self._end(record, grace=GRACE)
            return self._machine(record)

    @_translated
    def reboot(self, machine: Machine) -> Machine:
        """End its processes and start it again."""
        with self._registry.locked(machine.token) as lock:
            record = self._known(machine)
            self._end(record, grace=GRACE)
            return self._run(record, lock)

    @_translated
    def terminate(self, machine: Machine) -> None:
        """End its processes, delete its files, give its address back."""
        if self._registry.read(machine.token) is None:
            self._places.clean()  # whoever ended it may have been killed before that
            return
        with self._registry.locked(machine.token):
            record = self._registry.read(machine.token)
            if record is None:
                return
            self._end(record, grace=0)
            Disk(self._directory_of(record), bases.MACHINE).delete()
            self._addresses.release(self._registry.file(record.token))
            self._registry.remove(record.token)
            self._places.clean()

    # ------------------------------------------------------------------------------------------ one sandbox

    def _run(self, record: Record, lock: int) -> Machine:
        """Bring it up from whatever point it is at."""
        if not self._alive(record):
            record = self._with_disk(record, lambda disk: self._bring_up(record, disk, lock))
        return self._machine(record)

    def _with_disk(self, record: Record, work: Callable[[Disk], Record]) -> Record:
        """Do ``work`` with the disk of the sandbox in reach; an incomplete disk is made anew."""
        blank = self._places.claim(record.token, record.options.disk_bytes)
        disk = Disk(self._directory_of(record), self._base(record.options))
        if not (record.furnished and disk.exists):
            disk.clear()
            record = record.model_copy(update={"furnished": False})
            if blank:
                images.copy(blank, disk.image)
            elif record.options.disk and self._places.unbounded:
                raise CapabilityError(
                    f"this machine cannot limit a sandbox's disk: {self._places.unbounded.message}",
                    hint="Leave 'disk' out of compute/options.",
                )
        if not disk.image.exists():
            return work(disk)
        return images.mounted(disk.image, disk.layers, self._clock, lambda: work(disk))

    def _bring_up(self, record: Record, disk: Disk, lock: int) -> Record:
        groups = cgroups.groups(f"{record.token}-{self._mark}", record.options)
        record = record.model_copy(update={"cgroups": tuple(group.path for group in groups)})
        if not record.furnished:
            record = self._furnish(record, disk)
        record = self._settle(record, disk)
        spawn(
            disk,
            hostname=record.instance,
            init=["/bin/sh", identity.INIT],
            cgroups=cgroups.make(groups),
            lock=lock,
        )
        return record

    def _furnish(self, record: Record, disk: Disk) -> Record:
        """Write everything on its disk that a sandbox needs to start."""
        host_key = KeyPair.generate()
        identity.furnish(
            disk,
            name=record.instance,
            host_key=host_key,
            authorized=self._key.pair().public,
            private=(self._project if self._project != Path("/") else self._directory,),
        )
        return self._registry.write(record.model_copy(update={"host_key": host_key.public, "furnished": True}))

    def _settle(self, record: Record, disk: Disk) -> Record:
        """Make sure of an address: the one it had unless somebody took it while this machine was off."""
        before = Endpoint(record.address, record.port) if record.address and record.port else None
        now = self._addresses.reserve(self._registry.file(record.token), before)
        identity.settle(disk, name=record.instance, at=now, before=record.address)
        return self._registry.write(
            record.model_copy(update={"address": now.address, "port": now.port, "wanted": True})
        )

    def _base(self, options: Options) -> Path:
        base = bases.unpacked(options.root_path(self._project), self._directory / "roots", self._clock)
        bases.check_base(base)
        return base

    def _end(self, record: Record, *, grace: float) -> None:
        file = self._directory_of(record) / PROCESS_FILE
        process = Process.read(file)
        if process:
            process.end(grace=grace)
            file.unlink(missing_ok=True)
        cgroups.remove(record.cgroups)

    def _alive(self, record: Record) -> bool:
        process = Process.read(self._directory_of(record) / PROCESS_FILE)
        return process is not None and process.alive

    def _whole(self, record: Record) -> bool:
        """False when its disk is gone: it was in memory and this machine was restarted."""
        return not record.furnished or Disk(self._directory_of(record), bases.MACHINE).exists

    def _directory_of(self, record: Record) -> Path:
        return self._places.directory(record.token)

    def _known(self, machine: Machine) -> Record:
        record = self._registry.read(machine.token)
        if record is None or not self._whole(record):
            raise ProviderError(f"sandbox {machine.id} does not exist any more")
        return record

    def _machine(self, record: Record) -> Machine:
        return Machine(
            id=record.token,
            token=record.token,
            state=self._state(record),
            instance=record.instance,
            address=record.address,
            port=record.port or 22,
            user="root",
            key_file=str(self._key.file) if record.furnished else None,
            host_keys=(record.host_key,) if record.host_key else (),
            private_address=record.address,
        )

    def _state(self, record: Record) -> MachineState:
        if self._alive(record) and record.address:
            return MachineState.RUNNING
        starting = record.wanted and self._registry.busy(record.token)
        return MachineState.STARTING if starting else MachineState.STOPPED
