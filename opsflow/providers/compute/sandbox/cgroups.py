"""Limits on what a sandbox may use, through cgroups: version 2, or version 1 where a machine still has that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from opsflow.errors import CapabilityError
from opsflow.providers.compute.sandbox.options import Options

PROCESSES = 4096
"""The most processes a sandbox may have unless its options say otherwise: a fork bomb must not take the machine."""

FILES = {"pids": ("pids.max", "pids.max"), "memory": ("memory.max", "memory.limit_in_bytes")}
"""Controller -> the file with its limit in version 2 and in version 1."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group with one limit; what the user did not ask for may fail."""

    path: Path
    file: str
    limit: int
    required: bool


def groups(name: str, options: Options) -> tuple[Group, ...]:
    """The groups for a sandbox; nothing is made yet.

    Raises:
        CapabilityError: this machine has no place for a limit that the user asked for.
    """
    wanted = {"pids": options.processes, "memory": options.memory_bytes}
    found = []
    for controller, limit in wanted.items():
        place = next(_hierarchy(controller), None)
        if place:
            file = FILES[controller][place[1]]
            default = PROCESSES if controller == "pids" else None
            if value := limit or default:
                found.append(Group(place[0] / f"opsflow-sandbox-{name}", file, value, limit is not None))
        elif limit:
            raise _missing(controller, "no cgroup hierarchy for it is mounted and writable")
    return tuple(found)


def make(wanted: Iterable[Group]) -> list[Group]:
    """Make the groups and set their limits; gives those that worked.

    Raises:
        CapabilityError: a limit that the user asked for cannot be set.
    """
    made = []
    for group in wanted:
        try:
            group.path.mkdir(exist_ok=True)
            (group.path / group.file).write_text(str(group.limit))
            made.append(group)
        except OSError as error:
            if group.required:
                raise _missing(group.file, error.strerror or str(error)) from error
    return made


def remove(paths: Iterable[Path]) -> None:
    """Remove the groups of a sandbox that has ended."""
    for path in paths:
        # Busy means that a process is still on its way out; terminate tries again.
        with contextlib.suppress(OSError):
            path.rmdir()


def _missing(file: str, why: str) -> CapabilityError:
    return CapabilityError(
        f"this machine cannot set a sandbox's {file} limit: {why}",
        hint="Leave 'memory' and 'processes' out of compute/options.",
    )


def _hierarchy(controller: str) -> Iterator[tuple[Path, int]]:
    """Where groups with that controller can be made, and 0 for version 2 or 1 for version 1 of its files."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount, fields = Path(before.split()[4]), after.split()
        if fields[0] == "cgroup2" and _enabled(mount, controller):
            yield mount, 0
        elif fields[0] == "cgroup" and controller in fields[2].split(","):
            # Below our own group: the limits that this process has must hold for what it starts.
            yield mount / _own(controller), 1


def _enabled(mount: Path, controller: str) -> bool:
    """Whether groups at the top get the controller, which has to be switched on for them."""
    try:
        if controller not in (mount / "cgroup.controllers").read_text().split():
            return False
        switched = mount / "cgroup.subtree_control"
        if controller not in switched.read_text().split():
            switched.write_text(f"+{controller}")
    except OSError:
        return False
    return True


def _own(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path.lstrip("/")
    return ""
