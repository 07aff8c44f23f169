"""Machines that exist already."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from opsflow.clock import Clock
from opsflow.errors import CannotRestart, ProviderError
from opsflow.model.attributes import Attributes
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine, MachineRequest, MachineState
from opsflow.providers.compute.static.access import Access
from opsflow.providers.compute.static.bindings import Binding, Bindings
from opsflow.providers.compute.static.inventory import Host, Inventory
from opsflow.providers.compute.static.load import load

FRESH = 60.0
"""Seconds that an inventory is used before it is read again: it may be a program, or have files beside it."""


class StaticProvider:
    """Takes machines from an inventory. A host is one instance's at a time, from ``create`` to ``terminate``.

    opsflow cannot switch these machines on or off (OpsWorks: on-premises instances): ``stop`` and ``start`` only note
    what the instance is meant to be, ``reboot`` is refused, and ``terminate`` gives the host back as it is.
    """

    name = "static"
    powers = False

    def __init__(self, inventory: Path, ssh: Ssh, clock: Clock, directory: Path) -> None:
        """Keep records in ``directory``, usually ``.opsflow`` of the project.

        Relative paths in ``ssh`` are looked for in ``stacks/`` and in the project.
        """
        self._file = inventory
        self._clock = clock
        project = directory.absolute().parent
        self._access = Access(inventory.absolute().parent, ssh, project, directory / "known_hosts")
        self._bindings = Bindings(directory / "static", clock)
        self._lock = threading.Lock()
        self._cached: tuple[tuple[int, int], float, Inventory] | None = None

    def check(self) -> None:
        """Read the inventory.

        Raises:
            InventoryError: it cannot be read.
        """
        self._inventory()

    def create(self, request: MachineRequest) -> Machine:
        """Take the inventory host of that name for the instance.

        Raises:
            ProviderError: there is no such host, another instance has it, its private key is not there, or its host
                key is not known.
        """
        _check_options(request.options)
        name = request.host or request.instance
        with self._bindings.locked():
            binding = self._bindings.read(request.token)
            if binding is None:
                host = self._inventory().host(name)
                self._require_free(host)
                binding = Binding(
                    token=request.token,
                    stack=request.stack,
                    instance=request.instance,
                    host=host,
                    bound_at=self._clock.now(),
                )
            self._access.first_use(self._now(binding.host))
            return self._machine(self._bindings.write(binding.model_copy(update={"stopped": False})))

    def find(self, token: str) -> Machine | None:
        """The host that the token's instance has, also when its entry in the inventory became wrong."""
        binding = self._bindings.read(token)
        return self._machine(binding) if binding else None

    def list(self, stack: str) -> Sequence[Machine]:
        """The hosts that the stack's instances have."""
        return [self._machine(binding) for binding in self._bindings.list() if binding.stack == stack]

    def prospect(self, host: str) -> Machine | None:
        """The host of that name, in use or not; None when the inventory has none, or one that cannot be used.

        Raises:
            InventoryError: the inventory cannot be read.
        """
        found = self._inventory().hosts.get(host)
        return self._as_machine(found, token="", stopped=False) if found and not found.refused else None  # noqa: S106

    def start(self, machine: Machine) -> Machine:
        """Note that it is in use again, where the inventory says that it is now.

        Raises:
            ProviderError: it is at another place than before, its key there is to be recorded, and it does not answer.
        """
        with self._bindings.locked():
            binding = self._used(machine)
            host = self._now(binding.host)
            if self._access.place(host) != self._access.place(binding.host):
                self._access.at_new_place(host)
            return self._machine(self._bindings.write(binding.model_copy(update={"stopped": False, "host": host})))

    def stop(self, machine: Machine) -> Machine:
        """Note that it is not in use; the machine itself runs on."""
        with self._bindings.locked():
            binding = self._used(machine)
            return self._machine(self._bindings.write(binding.model_copy(update={"stopped": True})))

    def reboot(self, machine: Machine) -> Machine:
        """Refused.

        Raises:
            CannotRestart: always; it says what to do instead.
        """
        binding = self._used(machine)
        raise CannotRestart(self.name, binding.stack, binding.instance)

    def terminate(self, machine: Machine) -> None:
        """Give the host back; the machine itself runs on."""
        with self._bindings.locked():
            self._bindings.remove(machine.token)

    # ------------------------------------------------------------------------------------------ inside

    def _used(self, machine: Machine) -> Binding:
        binding = self._bindings.read(machine.token)
        if binding is None:
            raise ProviderError(f"host {machine.id} is not in use any more")
        return binding

    def _require_free(self, host: Host) -> None:
        place = self._access.place(host)
        for other in self._bindings.list():
            if other.host.name == host.name or self._access.place(other.host) == place:
                same = "" if other.host.name == host.name else f" (as '{other.host.name}', the same address)"
                raise ProviderError(
                    f"host '{host.name}' already is instance '{other.instance}' of stack '{other.stack}'{same}",
                    hint=f"Destroy that instance first. If its stack no longer exists: "
                    f"rm {self._bindings.file(other.token)}",
                )

    def _machine(self, binding: Binding) -> Machine:
        return self._as_machine(self._now(binding.host), token=binding.token, stopped=binding.stopped)

    def _as_machine(self, host: Host, *, token: str, stopped: bool) -> Machine:
        address, port = self._access.place(host)
        return Machine(
            id=host.name,
            token=token,
            state=MachineState.STOPPED if stopped else MachineState.RUNNING,
            address=address,
            port=port,
            user=self._access.user(host),
            key_file=self._access.key_file(host),
            # Without one, or with a wrong one, the engine refuses this machine, and only this one.
            host_keys=self._access.host_keys(host),
            private_address=address,
            data={"host": host.name, "groups": list(host.groups), "variables": host.data},
        )

    def _now(self, host: Host) -> Host:
        """The host as the inventory describes it today; as it was known when it is no longer there."""
        current = self._inventory().hosts.get(host.name)
        return current if current and not current.refused else host

    def _inventory(self) -> Inventory:
        with self._lock:
            stamp = self._stamp()
            now = self._clock.monotonic()
            if self._cached and self._cached[0] == stamp and now < self._cached[1]:
                return self._cached[2]
            inventory = load(self._file)
            self._cached = (stamp, now + FRESH, inventory)
            return inventory

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self._file.stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)


def _check_options(options: Attributes) -> None:
    for name in options:
        if name != "inventory":
            raise ProviderError(
                f"compute/options/{name}: the static provider has no such option",
                hint="Its only option is inventory.",
            )
