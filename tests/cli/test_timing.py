"""What a run cost, as ``runs show --timing`` tells it."""

from __future__ import annotations

import pytest
from cli_world import Program

from opsflow.cli.terminal import Terminal
from opsflow.cli.timing import brief, lines, size, timing
from opsflow.model.command import Command, CommandType
from opsflow.model.result import HostResult, HostStatus, OperationResult, OperationStatus, RunStats

WHEN = "2026-01-01T00:00:00Z"


def command(key: str, instance: str) -> Command:
    return Command.model_validate(
        {"id": key, "run": "1", "stack": "shop", "instance": instance, "type": CommandType.SETUP, "created_at": WHEN}
    )


def result(instance: str, trips: int, *durations: float, hits: int = 0) -> HostResult:
    operations = tuple(
        OperationResult(
            index=index,
            name=f"step {index}",
            operation="server.shell",
            recipe="web.setup",
            file="/srv/recipes/web.py",
            line=10 + index,
            status=OperationStatus.CHANGED,
            duration=seconds,
        )
        for index, seconds in enumerate(durations)
    )
    stats = RunStats(
        round_trips=trips,
        bytes_sent=1000 * trips,
        bytes_received=10,
        plans=1,
        hits=hits,
        misses=2,
        seconds={"connect": 0.1, "plan": 0.02, "host": sum(durations)},
    )
    return HostResult(instance=instance, status=HostStatus.OK, operations=operations, stats=stats)


def test_commands_of_one_instance_are_counted_together() -> None:
    commands = [command("1.1", "app1"), command("1.2", "app2"), command("1.3", "app1"), command("1.4", "app3")]
    results = {"1.1": result("app1", 2, 0.5), "1.2": result("app2", 1), "1.3": result("app1", 3, 1.5, hits=1)}
    found = timing(commands, results)
    one, two = found["instances"]
    assert (one["name"], one["round_trips"], one["bytes_sent"], one["plans"], one["hits"]) == ("app1", 5, 5000, 2, 1)
    assert one["seconds"] == {"connect": 0.2, "plan": 0.04, "host": 2.0}
    assert (two["name"], two["misses"]) == ("app2", 2)
    assert found["total"]["round_trips"] == 6
    assert found["total"]["seconds"]["host"] == 2.0


def test_the_five_slowest_operations_of_all_hosts_come_with_their_place() -> None:
    results = {"1.1": result("app1", 1, 0.5, 4.0, 0.0, 0.1), "1.2": result("app2", 1, 3.0, 2.0, 1.0)}
    slowest = timing([command("1.1", "app1"), command("1.2", "app2")], results)["slowest"]
    assert [(each["instance"], each["seconds"]) for each in slowest] == [
        ("app1", 4.0), ("app2", 3.0), ("app2", 2.0), ("app2", 1.0), ("app1", 0.5),
    ]  # fmt: skip
    assert (slowest[0]["name"], slowest[0]["file"], slowest[0]["line"]) == ("step 1", "/srv/recipes/web.py", 11)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_tables_fit_the_screen(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(Terminal, "out_columns", property(lambda terminal: columns))
    names = ["app1", "app2", "a-host-with-quite-a-long-name-42"]
    commands = [command(f"1.{number}", name) for number, name in enumerate(names)]
    results = {f"1.{number}": result(name, 1234, 0.0123, 64.0, 3600.5) for number, name in enumerate(names)}
    shown = lines(Terminal(), timing(commands, results))
    assert max(map(len, shown)) <= columns
    assert shown[1].split() == [
        "INSTANCE", "TRIPS", "SENT", "GOT", "PLANS", "HITS", "MISSES", "CONNECT", "PLAN", "HOST",
    ]  # fmt: skip
    assert shown[5].split() == [
        "all", "3", "3702", "3.7", "MB", "30", "B", "3", "0", "6", "300", "ms", "60", "ms", "3", "h", "03", "min",
    ]  # fmt: skip
    assert "app1" in shown[8]
    assert shown[8].endswith("web.py:12")


def test_it_is_shown_instead_of_the_operations(shop: Program) -> None:
    answer = shop("runs", "show", "1", "--timing")
    assert answer.code == 0
    assert answer.out.startswith("Run 1: up shop, successful")
    assert "all 3" in answer.out
    assert "OPERATION" not in answer.out


def test_as_data_it_comes_with_the_run(shop: Program) -> None:
    found = shop("runs", "show", "1", "--timing", "--json").json
    assert found["id"] == "1"
    assert {each["name"] for each in found["timing"]["instances"]} == {"lb1", "app1", "app2"}
    assert found["timing"]["total"]["plans"] > 0
    assert "timing" not in shop("runs", "show", "1", "--json").json


def test_a_run_in_which_nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing was measured" in " ".join(lines(Terminal(), timing([command("1.1", "app1")], {})))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.0004, "0.4 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s"), (185.0, "3 min 05 s")],
)
def test_short_times(seconds: float, text: str) -> None:
    assert brief(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12345, "12 kB"), (999_600, "1.0 MB"), (5 * 10**13, "50 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
