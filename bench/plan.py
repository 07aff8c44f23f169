"""Which series a benchmark consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers import PEERS
from bench.peers.base import Peer
from bench.rounds import Conditions

LATENCY_HOSTS = 2
TEN = 10
"""ansible-core alone takes half a minute for ten hosts, so its figures are for these."""
QUICK_LATENCY = ("opsflow", "opsflow-warm", "pyinfra", "openssh-warm")


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for."""

    hosts: int
    rounds: int
    latency: tuple[float, ...]
    peers: tuple[str, ...]
    """None: all of them, where they make sense."""
    many: int
    """Hosts of the series that is about memory; 0: without it."""
    quick: bool = False


def choose(keys: Sequence[str], besides: Sequence[str] = ()) -> tuple[type[Peer], ...]:
    """Peers by their keys, in the usual order."""
    return tuple(peer for peer in PEERS if (not keys or peer.key in keys) and peer.key not in besides)


def series(wishes: Wishes) -> list[Conditions]:
    """The series, in the order in which they are done."""
    return [*main_series(wishes), *latency_series(wishes), *many_series(wishes)]


def main_series(wishes: Wishes) -> list[Conditions]:
    first = 1 if wishes.quick else max(1, wishes.rounds - 2)
    apart = not wishes.peers and (wishes.quick or wishes.hosts != TEN)
    found = [
        Conditions(
            "main", f"{wishes.hosts} hosts", wishes.hosts,
            choose(wishes.peers, ["ansible"] if apart else []), first, wishes.rounds, warm_up=not wishes.quick,
        )
    ]  # fmt: skip
    if apart and not wishes.quick:
        few = choose(["opsflow", "opsflow-warm", "mitogen", "ansible"])
        found.append(Conditions("ten", f"{TEN} hosts, with ansible-core alone", TEN, few, 1, wishes.rounds))
    return found


def latency_series(wishes: Wishes) -> list[Conditions]:
    peers = choose(wishes.peers or (QUICK_LATENCY if wishes.quick else ()))
    rounds = 1 if wishes.quick else max(1, wishes.rounds - 2)
    return [
        Conditions(
            f"latency-{latency:g}", f"{LATENCY_HOSTS} hosts, round trips {latency:g} ms longer", LATENCY_HOSTS,
            peers, rounds, rounds, latency, warm_up=False,
        )
        for latency in wishes.latency
    ]  # fmt: skip


def many_series(wishes: Wishes) -> list[Conditions]:
    peers = tuple(peer for peer in choose(wishes.peers) if peer.key in ("opsflow", "opsflow-warm"))
    if not wishes.many or not peers:
        return []
    return [Conditions("many", f"{wishes.many} hosts, for memory", wishes.many, peers, 1, 1, warm_up=False)]
