"""What the differential suite covered, as Markdown and JSON."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "integration"
sys.path[:0] = [str(ROOT), str(TESTS)]

STATES = {
    "pristine": "as the case sets it up, nothing of the recipe there yet",
    "converged": "right after a run of the same recipe",
    "drifted": "changed behind both tools' backs after a run that both remember",
    "interrupted": "a run that a failure ends after some of the operations",
    "half-way": "the whole recipe after such an interruption",
    "hostile": "dangling links, directories in place of files and files in place of directories, names with quotes,"
    " newlines, blanks and non-ASCII letters, files that cannot be written",
    "failing": "recipes that must fail, at the same operation",
    "random": "generated recipes from generated beginnings",
}

NOT_HERE: Mapping[str, str] = {
    "server.reboot": "a sandbox that reboots does not come back by itself; it has tests of its own on hosts that do",
    **dict.fromkeys(
        ("zfs.filesystem", "zfs.snapshot", "zfs.volume"),
        "needs a ZFS pool: `zfs.dataset`, which they call, fails without one, in the same way",
    ),
}
"""Operation -> why no case can have it."""

PARTLY: Mapping[str, str] = {
    "apt.ppa": "`add-apt-repository` is a stand-in: it would ask Launchpad",
    "bsdinit.service": "with a script in `/etc/rc.d`",
    "files.flags": "Linux has no file flags as BSD has them: only that it fails the same way",
    "server.kill": "of a process that does not exist: two hosts have no process number in common",
    "server.locale": "`locale-gen` is a stand-in: it takes a minute",
    "server.modprobe": "the hosts share this machine's kernel: fails the same way, and with a stand-in",
    "server.sysctl": "the hosts' kernel settings are read-only: fails the same way",
    "server.timezone": "without a running systemd: fails the same way, and with a stand-in",
    "python.raise_exception": "it must fail",
    "ssh.command": "`ssh` is a stand-in",
    "ssh.download": "`scp` is a stand-in",
    "ssh.upload": "`scp` is a stand-in",
    "choco.install": "is a PowerShell command: fails the same way",
}
"""Operations of which a case has only a part, and why."""

EXPLAINED = (
    "pyinfra leaves what it uploads in `/tmp/pyinfra-*`; opsflow writes uploads in place and leaves nothing.",
    "Backups (`files.line(backup=True)`, `force=True`) are named after the minute. pyinfra takes the minute of each"
    " operation, opsflow that of the run, so a run across a full minute can leave two backups, not one. That there is"
    " a backup is compared, not how many.",
    "`files.get` of a file that is not there fails with both; pyinfra leaves an empty file on the controller.",
    "`crontab` notes in the table the file that it came from and the time.",
    "How often a fact is read is not compared, since reading less is what opsflow is for. Stand-ins therefore note"
    " commands, not questions.",
)
"""Differences that are none, and why."""


@dataclass
class Seen:
    """What happened with one operation."""

    outcomes: Counter[str] = field(default_factory=Counter)
    states: set[str] = field(default_factory=set)
    real: bool = False


def all_operations() -> dict[str, str]:
    """Name -> family, of all operations of pyinfra."""
    import pyinfra.operations

    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(pyinfra.operations.__path__, "pyinfra.operations."):
        loaded = importlib.import_module(module.name)
        family = module.name.removeprefix("pyinfra.operations.")
        for name, value in vars(loaded).items():
            if not name.startswith("_") and hasattr(value, "_inner") and value.__module__ == module.name:
                found[f"{family}.{name}"] = family
    return found


def seen_in(lines: Iterable[dict[str, Any]]) -> dict[str, Seen]:
    """Operation (as the engine names it: module and function) -> what happened with it."""
    seen: dict[str, Seen] = defaultdict(Seen)
    for line in lines:
        for operation, outcome in line["operations"]:
            seen[operation].outcomes[outcome] += 1
            seen[operation].states.add(line["state"])
            seen[operation].real |= line["real"]
    return seen


def global_arguments() -> tuple[list[str], dict[str, str]]:
    """Those that the cases use, and those that opsflow refuses, with the way out."""
    from pyinfra.api.arguments import all_global_arguments

    from opsflow.engine import adapter

    text = "".join(file.read_text() for file in TESTS.glob("differential_*.py"))
    refused = dict(adapter.REFUSED_ARGUMENTS)
    names = [name for name, _ in all_global_arguments() if name not in refused]
    return [name for name in names if re.search(rf"\b{name}\b", text)], refused


def report(lines: list[dict[str, Any]], command: str) -> tuple[str, dict[str, Any]]:
    """The page, and the same as data."""
    from opsflow.engine.adapter import REFUSED_OPERATIONS

    seen = seen_in(lines)
    rows = {}
    for name in sorted(all_operations()):
        short = ".".join(name.split(".")[-2:])
        rows[name] = _row(short, seen.get(short), REFUSED_OPERATIONS.get(short, ""))
    states = Counter(line["state"] for line in lines)
    used, refused = global_arguments()
    data = {"versions": _versions(), "states": states, "operations": rows, "arguments": used, "refused": refused}
    return _page(rows, states, used, refused, command), data


def _row(name: str, seen: Seen | None, refused: str) -> dict[str, Any]:
    if seen is None:
        how = "refused by name" if refused else "not here" if name in NOT_HERE else "missing"
        return {"how": how, "note": refused or NOT_HERE.get(name, ""), "outcomes": {}, "states": []}
    how = "real" if seen.real else "stand-in"
    note = PARTLY.get(name, "")
    return {"how": how, "note": note, "outcomes": dict(seen.outcomes), "states": sorted(seen.states)}


def _versions() -> dict[str, str]:
    return {"pyinfra": version("pyinfra"), "python": sys.version.split()[0]}


def _page(
    rows: Mapping[str, Mapping[str, Any]],
    states: Counter[str],
    used: list[str],
    refused: Mapping[str, str],
    command: str,
) -> str:
    hows = Counter(row["how"] for row in rows.values())
    parts = [
        "# The same as pyinfra",
        f"This page is written by `{command}`. It says what the differential suite covered when it last ran: the same"
        " recipes on twin hosts (real sshd, namespaces of their own), once with the plain pyinfra CLI and once with"
        " opsflow, and then both file systems compared byte for byte (content, mode, owner, link target, hard links;"
        " not times) and the outcome of each operation (changed, no change, failed, ignored). Every recipe runs at"
        " least twice on the same hosts, so that opsflow works from what it remembers, and again after changes that"
        " neither tool was told of.",
        f"pyinfra {version('pyinfra')}, {len(rows)} operations: "
        + ", ".join(f"{count} {how}" for how, count in sorted(hows.items()))
        + f". Comparisons: {sum(states.values())}. Differences left: none.",
        "## States",
        _table(("state", "comparisons", "what it is"), [(name, states[name], text) for name, text in STATES.items()]),
        "## Operations",
        "*real*: on the host, with the real program. *stand-in*: this machine does not have the program, so a stand-in"
        " answers its questions and notes its commands, and both tools must have given the same commands in the same"
        " order, on a host where nothing is installed and on one where everything is.",
        _table(("operation", "how", "outcomes", "note"), [_cells(name, row) for name, row in rows.items()]),
        "## Global arguments",
        f"In the cases: {', '.join(f'`{name}`' for name in used)}.",
        "Refused by name before anything runs:",
        _table(("argument", "way out"), sorted((f"`{name}`", text) for name, text in refused.items())),
        "## Differences that are none",
        "\n".join(f"- {text}" for text in EXPLAINED),
        "Not compared:",
        _table(("paths", "why"), [(f"`{_bars(pattern)}`", why) for pattern, why in _not_compared().items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _not_compared() -> Mapping[str, str]:
    from differential_trees import NOT_COMPARED

    return NOT_COMPARED


def _cells(name: str, row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(row["outcomes"].items()))
    return f"`{name}`", row["how"], outcomes, row["note"]


def _bars(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def read(record: Path) -> list[dict[str, Any]]:
    """What the tests noted."""
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
