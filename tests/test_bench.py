"""The parts of the benchmark that only calculate; the rest of it checks itself against the hosts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment, hoststate, plan, processes  # noqa: E402
from bench.figures import Figures, Series, problems  # noqa: E402
from bench.goals import GOALS, Goal, goals  # noqa: E402
from bench.meter import Cost  # noqa: E402
from bench.peers import PEERS  # noqa: E402
from bench.peers.base import Phase  # noqa: E402
from bench.table import table  # noqa: E402


def figures(peer: str, *walls: float, phase: Phase = Phase.CONVERGED, problem: str = "") -> Figures:
    return Figures(peer, phase, peer.title(), [Cost(wall, wall / 2, 0) for wall in walls], problem=problem)


def series(*found: Figures) -> Series:
    return Series("5 hosts", 5, 0, list(found))


def test_a_ratio_is_the_median_of_the_rounds_where_there_are_equally_many() -> None:
    # The second round fell into a busy moment; both slowed down.
    both = series(figures("pyinfra", 10, 40, 12), figures("opsflow", 1, 4, 2))
    assert both.ratio(Phase.CONVERGED, "pyinfra", "opsflow") == 10
    slow = series(figures("ansible", 30), figures("opsflow", 1, 4, 2))
    assert slow.ratio(Phase.CONVERGED, "ansible", "opsflow") == 15
    assert slow.ratio(Phase.FIRST, "ansible", "opsflow") is None


def test_a_peer_whose_work_was_wrong_has_no_figures() -> None:
    one = series(figures("opsflow", 1.0), figures("pyinfra", 0.1, problem="left\nother bytes | here"))
    text = table(one)
    assert "no figures: other bytes \\| here" in text
    assert "0.10" not in text
    assert one.ratio(Phase.CONVERGED, "pyinfra", "opsflow") is None
    assert problems([one]) == ["5 hosts, Pyinfra, converged: left\nother bytes | here"]


def test_a_table_has_a_line_for_each_peer_and_phase() -> None:
    one = series(figures("opsflow", 2.0, 1.0, 3.0), figures("paramiko", 1.0, phase=Phase.FIRST))
    one.figures.append(Figures("mitogen", "", "Mitogen", problem="mitogen could not be installed: no index"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(one).splitlines()[2:4]]
    assert rows[0][:4] == ["first", "Paramiko", "1.00", "-"]
    assert rows[1] == ["converged", "Opsflow", "2.00 (1.00–3.00)", "1.00", "-", "1.00", "200.0", "-", "-", "-"]
    assert table(one).endswith("Mitogen was left out: mitogen could not be installed: no index.")


@pytest.mark.parametrize(
    ("value", "verdict"), [(3.0, "missed"), (4.0, "goal"), (6.5, "stretch"), (None, "not measured")]
)
def test_a_goal_says_what_was_reached(value: float | None, verdict: str) -> None:
    assert Goal("faster", 4, 6, "", lambda _: value, at_least=True).row({})[-1] == verdict


def test_all_goals_can_be_missing() -> None:
    assert goals({}).count("not measured") == len(GOALS)


def test_what_a_process_is_called_does_not_matter() -> None:
    stat = "71 (a) R (b c) S 7 71 71 0 -1 4194560 1 2 3 4 150 50 20 30 20 0 1 0 99"
    assert processes.parse(stat) == processes.Process(71, "S", 7, 250 / processes.TICKS)


def test_differences_between_hosts_are_named() -> None:
    found = hoststate.differences({"a": "x 1\ny 2", "b": "x 1"}, {"a": "x 1\ny 3", "b": "x 1"})
    assert found == ["a: has y 3", "a: lacks y 2"]


def test_everything_that_is_installed_is_pinned() -> None:
    pins = environment.pins(environment.REQUIREMENTS.read_text())
    assert {name for peer in PEERS for name in peer.needs} <= set(pins)


def test_each_series_has_the_peers_that_make_sense_there() -> None:
    wishes = plan.Wishes(hosts=50, rounds=5, latency=(20, 100), peers=(), many=199)
    keys = {one.name: [peer.key for peer in one.peers] for one in plan.series(wishes)}
    assert list(keys) == ["main", "ten", "latency-20", "latency-100", "many"]
    assert "ansible" not in keys["main"]
    assert "ansible" in keys["ten"]
    asked = plan.Wishes(hosts=4, rounds=1, latency=(), peers=("ansible",), many=199)
    assert [[peer.key for peer in one.peers] for one in plan.series(asked)] == [["ansible"]]
