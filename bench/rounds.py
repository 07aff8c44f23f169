"""Rounds: every peer in turn on the same hosts, first on pristine ones, then on converged ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import testbed
from bench.environment import Environment
from bench.figures import Figures, Series
from bench.hosts import Host
from bench.hoststate import HostState, differences
from bench.masters import held
from bench.meter import Failed, Meter
from bench.peers.base import Peer, Phase
from bench.processes import adopting_orphans, descendants
from bench.proxy import Proxy, in_front_of


@dataclass(frozen=True)
class Conditions:
    """What one series is about."""

    name: str
    title: str
    hosts: int
    peers: tuple[type[Peer], ...]
    first: int
    """Rounds on pristine hosts."""
    converged: int
    """Rounds on converged hosts."""
    latency: float = 0
    """Milliseconds added to a round trip."""
    warm_up: bool = True
    """Whether all but slow peers have a round first that does not count; else only those that remember do."""


def measure(conditions: Conditions, hosts: list[Host], directory: Path, environment: Environment) -> Series:
    """Do all rounds of a series."""
    series = Series(conditions.title, conditions.hosts, conditions.latency)
    with ExitStack() as resources:
        # Peers close what they hold before the connections of the benchmark and the proxy go.
        bed, proxy = _testbed(conditions, hosts, directory, resources)
        # Around the proxy, in front of which they would count: what the benchmark does takes no time it measures.
        direct = testbed.make(directory.with_name(f"{directory.name}-direct"), hosts)
        masters = resources.enter_context(held(direct, "bench"))
        state = HostState(masters.config, [host.name for host in direct.hosts], direct.spare.name)
        resources.enter_context(adopting_orphans())
        peers = [peer(bed, environment, resources.enter_context(ExitStack())) for peer in conditions.peers]
        with Rounds(conditions, series, state, peers, proxy, masters.pids).prepared() as rounds:
            rounds.first()
            rounds.converged()
    return series


def _testbed(
    conditions: Conditions, hosts: list[Host], directory: Path, resources: ExitStack
) -> tuple[testbed.Testbed, Proxy | None]:
    if not conditions.latency:
        return testbed.make(directory, hosts), None
    proxy = resources.enter_context(in_front_of(hosts, conditions.latency))
    return testbed.make(directory, proxy.hosts), proxy


class Rounds:
    """The rounds of one series."""

    def __init__(
        self,
        conditions: Conditions,
        series: Series,
        state: HostState,
        peers: Sequence[Peer],
        proxy: Proxy | None,
        bystanders: set[int],
    ) -> None:
        self._conditions = conditions
        self._series = series
        self._state = state
        self._peers = list(peers)
        self._proxy = proxy
        self._ours = bystanders | ({proxy.pid} if proxy else set())
        self._daemons: dict[str, set[int]] = {}
        self._script = testbed.hand_written_script()
        self._expected: dict[str, str] = {}

    @contextmanager
    def prepared(self) -> Iterator[Rounds]:
        """With everything in place that the rounds need."""
        self._state.save()
        self._expected = self._state.after(self._script)
        for peer in list(self._peers):
            if reason := peer.missing():
                self._series.figures.append(Figures(peer.key, "", peer.title, problem=reason))
                self._peers.remove(peer)
            else:
                with self._daemons_of(peer):
                    peer.prepare()
        yield self

    def first(self) -> None:
        """Pristine hosts for each run; afterwards they must be as the hand-written script leaves them."""
        for number in range(self._conditions.first + 1):
            for peer, figures in self._turn(Phase.FIRST, number):
                self._state.restore()
                with self._daemons_of(peer):
                    peer.forget()
                self._run(peer, figures, number)
                self._compare(figures)

    def converged(self) -> None:
        """Hosts on which nothing is to be done, and nothing may be done."""
        times = self._state.times()
        for number in range(self._conditions.converged + 1):
            for peer, figures in self._turn(Phase.CONVERGED, number):
                self._run(peer, figures, number)
                now = self._state.times()
                if times != now:
                    figures.problem = f"wrote to converged hosts: {differences(times, now)[0]}"
                times = now

    @contextmanager
    def _daemons_of(self, peer: Peer) -> Iterator[None]:
        """What is left running from here on is that peer's, and no other peer is charged for it."""
        before = set(descendants())
        try:
            yield
        finally:
            self._daemons.setdefault(peer.key, set()).update(set(descendants()) - before)

    def _turn(self, phase: Phase, number: int) -> Iterator[tuple[Peer, Figures]]:
        """The peers of a round that can still run; each round begins with another one. Round 0 does not count."""
        peers = [peer for peer in self._peers if phase in peer.phases]
        for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
            figures = self._figures(peer, phase)
            if not figures.problem and self._takes_part(peer, phase, number):
                yield peer, figures

    def _takes_part(self, peer: Peer, phase: Phase, number: int) -> bool:
        if number == 0 and not self._conditions.warm_up:
            return peer.remembers and phase is Phase.CONVERGED
        return number == 1 or not peer.slow

    def _figures(self, peer: Peer, phase: Phase) -> Figures:
        found = [one for one in self._series.figures if (one.peer, one.phase) == (peer.key, phase)]
        if not found:
            found = [Figures(peer.key, phase, peer.title)]
            self._series.figures += found
        return found[0]

    def _run(self, peer: Peer, figures: Figures, number: int) -> None:
        memory = number == 0 or figures.memory is None
        others = set[int]().union(*(pids for key, pids in self._daemons.items() if key != peer.key))
        meter = Meter(peer.place / "log", self._ours | others)
        if self._proxy:
            self._proxy.turns()
        try:
            with self._daemons_of(peer):
                cost = meter.run(peer.command(), memory=memory, tidy=not peer.stays)
        except Failed as failure:
            figures.problem = str(failure)
            say(f"{peer.title}, {figures.phase}: {failure}")
            return
        figures.memory = figures.memory if cost.memory is None else cost.memory
        if number:
            figures.costs.append(cost)
            self._count(peer, figures)
        say(f"{self._series.title}: {figures.phase} {number}, {peer.title}: {cost.wall:.2f} s, {cost.cpu:.2f} s CPU")

    def _count(self, peer: Peer, figures: Figures) -> None:
        if self._proxy:
            turns = self._proxy.turns()[: self._conditions.hosts]
            figures.turns = sum(turns) / len(turns)
        if figures.round_trips is None:
            figures.round_trips = peer.round_trips()

    def _compare(self, figures: Figures) -> None:
        found = self._state.contents()
        if lines := differences(self._expected, found):
            figures.problem = f"did not leave the same behind as the hand-written script: {'; '.join(lines[:5])}"
            say(f"{figures.title}: {figures.problem}")
            self._state.after(self._script)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
