"""Machines that exist in memory only, and fail in every way that real ones do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from opsflow.clock import Clock
from opsflow.errors import CapabilityError, ProviderError
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.providers.compute.files import write_atomic
from opsflow.providers.compute.locks import locked

Call = Literal["check", "create", "find", "list", "start", "stop", "reboot", "terminate"]


@dataclass(frozen=True, slots=True)
class _Entry:
    machine: Machine
    stack: str
    instance: str
    boots_at: float = 0.0


@dataclass(slots=True)
class _Fault:
    call: Call
    instance: str
    times: int
    done: bool
    message: str


class FakeProvider:
    """A provider for tests of everything above it.

    With ``file``, machines outlive the object: a second provider with the same file is what a new process would see.

    Attributes:
        calls: every call in order, such as ``("create", "app1")``; also those that failed.
        never_boots: instances (globs) whose machines stay ``starting``.
        without_host_key: instances (globs) whose machines break the promise of a known host key.
        boot_seconds: how long a machine is ``starting``.
        delay: seconds that every call takes.
        moves: whether a machine gets another address each time it is started, as clouds do.
    """

    name = "fake"
    powers = True

    def __init__(self, clock: Clock, file: Path | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.never_boots: set[str] = set()
        self.without_host_key: set[str] = set()
        self.boot_seconds = 0.0
        self.delay = 0.0
        self.moves = False
        self._clock = clock
        self._file = file
        self._lock = threading.RLock()
        self._faults: list[_Fault] = []
        self._machines: dict[str, _Entry] = {}
        self._made = 0

    # ------------------------------------------------------------------------------------ telling it what to do

    def fail(
        self,
        call: Call,
        instance: str = "*",
        *,
        times: int = 1,
        done: bool = False,
        message: str = "the fake provider was told to fail",
    ) -> None:
        """Let the next ``times`` calls for matching instances fail.

        With ``done`` the work is done first and only the answer is lost, as when a connection breaks.
        """
        with self._lock:
            self._faults.append(_Fault(call, instance, times, done, message))

    def heal(self) -> None:
        """Forget all faults that are still to come."""
        with self._lock:
            self._faults.clear()
            self.never_boots.clear()
            self.without_host_key.clear()

    def vanish(self, instance: str) -> None:
        """Let the machines of matching instances be gone, as if deleted behind our back."""
        with self._state(delay=0) as machines:
            for token, entry in list(machines.items()):
                if fnmatchcase(entry.instance, instance):
                    del machines[token]

    def halt(self, instance: str) -> None:
        """Let the machines of matching instances stop by themselves."""
        with self._state(delay=0) as machines:
            for token, entry in machines.items():
                if fnmatchcase(entry.instance, instance):
                    machines[token] = _in_state(entry, MachineState.STOPPED)

    @property
    def machines(self) -> Sequence[Machine]:
        """All that exist, of all stacks: what an orphan would show up in."""
        with self._state(delay=0) as machines:
            return [self._seen(entry) for entry in machines.values()]

    # ------------------------------------------------------------------------------------ the port

    def check(self) -> None:
        """Works everywhere unless told to fail."""
        try:
            with self._call("check", "*"):
                pass
        except ProviderError as error:
            raise CapabilityError(error.message, hint="Heal the fake.") from error

    def create(self, request: MachineRequest) -> Machine:
        """The machine of the token, made at the first call."""
        with self._state() as machines, self._call("create", request.instance):
            entry = machines.get(request.token) or _Entry(self._new(request), request.stack, request.instance)
            if entry.machine.state is not MachineState.RUNNING:
                entry = self._booting(entry)
            machines[request.token] = entry
            return self._seen(entry)

    def find(self, token: str) -> Machine | None:
        """The machine of that token."""
        with self._state() as machines:
            entry = machines.get(token)
            with self._call("find", entry.instance if entry else "*"):
                return self._seen(entry) if entry else None

    def list(self, stack: str) -> Sequence[Machine]:
        """Machines of the stack in order of creation."""
        with self._state() as machines, self._call("list", "*"):
            return [self._seen(entry) for entry in machines.values() if entry.stack == stack]

    def prospect(self, host: str) -> Machine | None:
        """None: machines are made."""
        return None

    def start(self, machine: Machine) -> Machine:
        """Start a stopped machine."""
        with self._known(machine) as (machines, entry), self._call("start", entry.instance):
            if entry.machine.state is MachineState.STOPPED:
                machines[machine.token] = entry = self._booting(entry)
            return self._seen(entry)

    def stop(self, machine: Machine) -> Machine:
        """Stop it."""
        with self._known(machine) as (machines, entry), self._call("stop", entry.instance):
            machines[machine.token] = entry = _in_state(entry, MachineState.STOPPED)
            return self._seen(entry)

    def reboot(self, machine: Machine) -> Machine:
        """Boot it again."""
        with self._known(machine) as (machines, entry), self._call("reboot", entry.instance):
            machines[machine.token] = entry = self._booting(entry)
            return self._seen(entry)

    def terminate(self, machine: Machine) -> None:
        """Forget it."""
        with self._state() as machines:
            entry = machines.get(machine.token)
            with self._call("terminate", entry.instance if entry else "*"):
                machines.pop(machine.token, None)

    # ------------------------------------------------------------------------------------ inside

    @contextlib.contextmanager
    def _call(self, call: Call, instance: str) -> Iterator[None]:
        with self._lock:
            self.calls.append((call, instance))
            due = (f for f in self._faults if f.call == call and fnmatchcase(instance, f.instance) and f.times > 0)
            fault = next(due, None)
            if fault:
                fault.times -= 1
        if fault and not fault.done:
            raise ProviderError(f"{call} {instance}: {fault.message}")
        yield
        if fault:
            raise ProviderError(f"{call} {instance}: {fault.message} (after it was done)")

    @contextlib.contextmanager
    def _known(self, machine: Machine) -> Iterator[tuple[dict[str, _Entry], _Entry]]:
        with self._state() as machines:
            if machine.token not in machines:
                raise ProviderError(f"machine {machine.id} does not exist any more")
            yield machines, machines[machine.token]

    @contextlib.contextmanager
    def _state(self, delay: float | None = None) -> Iterator[dict[str, _Entry]]:
        """The machines; changes are kept also when the block fails, because then only the answer was lost."""
        self._clock.sleep(self.delay if delay is None else delay)
        with self._lock, contextlib.ExitStack() as stack:
            if self._file:
                stack.enter_context(locked(self._file.with_suffix(".lock"), self._clock))
                self._load(self._file)
            try:
                yield self._machines
            finally:
                if self._file:
                    self._save(self._file)

    def _load(self, file: Path) -> None:
        if not file.exists():
            return
        kept = json.loads(file.read_text())
        self._made = kept["made"]
        self._machines = {
            item["machine"]["token"]: _Entry(Machine.model_validate(item.pop("machine")), **item)
            for item in kept["machines"]
        }

    def _save(self, file: Path) -> None:
        entries = [
            {
                "machine": entry.machine.model_dump(mode="json"),
                "stack": entry.stack,
                "instance": entry.instance,
                "boots_at": entry.boots_at,
            }
            for entry in self._machines.values()
        ]
        write_atomic(file, json.dumps({"made": self._made, "machines": entries}))

    def _new(self, request: MachineRequest) -> Machine:
        address = self._address()
        return Machine(
            id=f"fake-{self._made}",
            token=request.token,
            state=MachineState.STOPPED,
            instance=request.instance,
            address=address,
            private_address=address,
            host_keys=(_host_key(request.token),),
        )

    def _address(self) -> str:
        self._made += 1
        return f"198.18.{self._made // 250 % 256}.{self._made % 250 + 1}"  # a network for tests, RFC 2544

    def _booting(self, entry: _Entry) -> _Entry:
        machine = entry.machine.model_copy(update={"state": MachineState.RUNNING})
        if self.moves:
            address = self._address()
            machine = machine.model_copy(update={"address": address, "private_address": address})
        return replace(entry, machine=machine, boots_at=self._clock.monotonic() + self.boot_seconds)

    def _seen(self, entry: _Entry) -> Machine:
        machine = entry.machine
        if any(fnmatchcase(entry.instance, glob) for glob in self.without_host_key):
            machine = machine.model_copy(update={"host_keys": ()})
        booting = self._clock.monotonic() < entry.boots_at or self._stuck(entry)
        if machine.state is MachineState.RUNNING and booting:
            machine = machine.model_copy(update={"state": MachineState.STARTING})
        return machine

    def _stuck(self, entry: _Entry) -> bool:
        return any(fnmatchcase(entry.instance, glob) for glob in self.never_boots)


def _in_state(entry: _Entry, state: MachineState) -> _Entry:
    return replace(entry, machine=entry.machine.model_copy(update={"state": state}))


def _host_key(token: str) -> str:
    kind = b"ssh-ed25519"
    key = hashlib.sha256(token.encode()).digest()
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, key))
    return f"{kind.decode()} {base64.b64encode(wire).decode()}"
