"""What a run cost: round trips, bytes, plans and seconds of each host and of all, and the slowest operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opsflow.cli.text import duration, from_here

if TYPE_CHECKING:
    from opsflow.cli.terminal import Terminal
    from opsflow.model.command import Command
    from opsflow.model.result import HostResult, RunStats

SLOWEST = 5
COUNTS = ("round_trips", "bytes_sent", "bytes_received", "plans", "hits", "misses")
PHASES = ("connect", "plan", "host")
HEADINGS = ("INSTANCE", "TRIPS", "SENT", "GOT", "PLANS", "HITS", "MISSES", "CONNECT", "PLAN", "HOST")


def timing(commands: Iterable[Command], results: Mapping[str, HostResult | None]) -> dict[str, Any]:
    """The cost of a run as plain data: each instance with all its commands together, the total, what was slowest."""
    found = [(command.instance, result) for command in commands if (result := results.get(command.id))]
    hosts: dict[str, list[RunStats]] = {}
    for name, result in found:
        hosts.setdefault(name, []).append(result.stats)
    everything = [stats for each in hosts.values() for stats in each]
    return {
        "instances": [{"name": name, **_sum(each)} for name, each in hosts.items()],
        "total": _sum(everything),
        "slowest": _slowest(found),
    }


def _sum(stats: Sequence[RunStats]) -> dict[str, Any]:
    counts = {name: sum(getattr(each, name) for each in stats) for name in COUNTS}
    phases = dict.fromkeys((*PHASES, *(phase for each in stats for phase in each.seconds)))
    seconds = {phase: round(sum(each.seconds.get(phase, 0.0) for each in stats), 6) for phase in phases}
    return {**counts, "seconds": seconds}


def _slowest(found: Sequence[tuple[str, HostResult]]) -> list[dict[str, Any]]:
    timed = [(operation, name) for name, result in found for operation in result.operations if operation.duration]
    timed.sort(key=lambda each: -each[0].duration)
    return [
        {
            "name": operation.name,
            "instance": name,
            "seconds": operation.duration,
            "recipe": operation.recipe,
            "file": operation.file,
            "line": operation.line,
        }
        for operation, name in timed[:SLOWEST]
    ]


def lines(terminal: Terminal, found: dict[str, Any]) -> list[str]:
    """What :func:`timing` found, for people."""
    hosts, slowest = found["instances"], found["slowest"]
    if not hosts:
        return ["", "Nothing ran on any host, so nothing was measured."]
    rows = [_row(host["name"], host) for host in hosts]
    if len(hosts) > 1:
        rows.append(_row(f"all {len(hosts)}", found["total"]))
    shown = ["", *terminal.table(HEADINGS, rows, right=HEADINGS[1:])]
    if slowest:
        headings = ("SLOWEST", "INSTANCE", "OPERATION", "WHERE")
        shown += ["", *terminal.table(headings, [_operation(each) for each in slowest], right=headings[:1])]
    return shown


def _row(name: str, cost: Mapping[str, Any]) -> Sequence[object]:
    seconds = cost["seconds"]
    return (
        name,
        cost["round_trips"],
        size(cost["bytes_sent"]),
        size(cost["bytes_received"]),
        cost["plans"],
        cost["hits"],
        cost["misses"],
        *(brief(seconds[phase]) for phase in PHASES),
    )


def _operation(found: Mapping[str, Any]) -> Sequence[object]:
    where = f"{from_here(found['file'])}:{found['line']}" if found["file"] else found["recipe"]
    return brief(found["seconds"]), found["instance"], found["name"], where


def brief(seconds: float) -> str:
    """``0.4 ms``, ``12 ms``, ``1.2 s``, ``3 min 05 s``."""
    if seconds >= 0.9995:
        return duration(seconds)
    thousandths = seconds * 1000
    return f"{thousandths:.1f} ms" if 0 < thousandths < 9.95 else f"{thousandths:.0f} ms"


def size(count: int) -> str:
    """``512 B``, ``1.2 kB``, ``34 MB``."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 999.5 and len(units) > 1:
        amount /= 1000
        del units[0]
    return f"{amount:.1f} {units[0]}" if units[0] != "B" and amount < 9.95 else f"{amount:.0f} {units[0]}"
