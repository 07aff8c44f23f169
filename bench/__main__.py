"""opsflow and its peers, on the same recipe and the same real SSH hosts, interleaved, in one run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from bench import environment, plan
from bench.figures import Series, problems
from bench.goals import goals
from bench.hosts import Fleet
from bench.peers import PEERS
from bench.rounds import measure, say
from bench.table import tables
from opsflow.clock import SystemClock
from opsflow.errors import OpsflowError

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    wishes = parsed()
    # A benchmark that is told to end leaves no host behind either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    peers = environment.make()
    with tempfile.TemporaryDirectory(prefix="opsflow-bench-") as directory:
        series = run(wishes, peers, Path(directory))
    about: dict[str, object] = {
        "started": SystemClock().now().isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load average at the end": os.getloadavg(),
        "versions": environment.versions(peers),
    }
    report(wishes, series, about)
    wrong = problems(series.values())
    for line in wrong:
        say(line)
    return 1 if wrong else 0


def run(wishes: plan.Wishes, peers: environment.Environment, directory: Path) -> dict[str, Series]:
    """All series, by their names. One that this machine cannot have costs only itself."""
    fleet = Fleet(directory)
    found: dict[str, Series] = {}
    try:
        for conditions in plan.series(wishes):
            say(f"{conditions.title}: {', '.join(peer.key for peer in conditions.peers)}")
            try:
                hosts = fleet.hosts(conditions.hosts + 1)
            except OpsflowError as error:
                say(f"{conditions.title}: left out: {error}")
                continue
            found[conditions.name] = measure(conditions, hosts, directory / conditions.name, peers)
    finally:
        fleet.end()
    return found


def report(wishes: plan.Wishes, series: dict[str, Series], about: dict[str, object]) -> None:
    """Print the tables and write them to results/."""
    name = "quick" if wishes.quick else "bench"
    text = f"{tables(series.values())}\n\n### Goals\n\n{goals(series)}\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    document = {"about": about, "series": {key: one.document() for key, one in series.items()}}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(f"{text}\n{lines(about)}")
    say(f"written to bench/results/{name}.md and .json")


def lines(about: dict[str, object]) -> str:
    versions = about["versions"]
    assert isinstance(versions, dict)
    items = {**about, **versions}
    return "".join(f"- {key}: {value}\n" for key, value in items.items() if key != "versions")


def parsed() -> plan.Wishes:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 hosts, few rounds, without ansible-core alone")
    parser.add_argument("--hosts", type=int, help="hosts of the main series (50; quick: 10)")
    parser.add_argument("--rounds", type=int, help="rounds on converged hosts (5; quick: 2)")
    parser.add_argument("--latency", type=numbers, help="milliseconds added to a round trip, e.g. 20,100; 0: none")
    parser.add_argument("--peers", type=words, default=(), help=f"some of {','.join(peer.key for peer in PEERS)}")
    parser.add_argument("--many", type=int, help="hosts of the series about memory (200; quick: none); 0: none")
    given = parser.parse_args()
    unknown = set(given.peers) - {peer.key for peer in PEERS}
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(p.key for p in PEERS)}")
    return plan.Wishes(
        hosts=given.hosts or (10 if given.quick else 50),
        rounds=given.rounds or (2 if given.quick else 5),
        latency=given.latency if given.latency is not None else ((100.0,) if given.quick else (20.0, 100.0)),
        peers=given.peers,
        many=given.many if given.many is not None else (0 if given.quick else 199),
        quick=given.quick,
    )


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(",") if float(word))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; nothing was written, and no host is left")
