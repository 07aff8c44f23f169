"""What is printed while something runs."""

from __future__ import annotations

import io
import json

import pytest

from opsflow.cli.live import rows
from opsflow.cli.progress import Activities, Fan, Heartbeat, JsonLines, OutputLines, PlainLog
from opsflow.cli.terminal import Terminal
from opsflow.cli.text import width
from opsflow.clock import ManualClock
from opsflow.model.journal import JournalEntry
from opsflow.model.result import OperationResult, OperationStatus
from opsflow.ports import OperationEnded, OperationStarted, OutputReceived, PhaseChanged


def terminal() -> tuple[Terminal, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Terminal(out, err), out, err


def entry(kind: str, message: str, instance: str | None = "app1") -> JournalEntry:
    return JournalEntry(id=7, at=ManualClock().now(), stack="shop", kind=kind, message=message, instance=instance)


def ended(status: OperationStatus, **more: object) -> OperationEnded:
    result = OperationResult.model_validate(
        {"index": 0, "name": "Install HAProxy", "operation": "apt.packages", "recipe": "haproxy.setup",
         "file": "recipes/haproxy.py", "line": 8, "status": status, "duration": 1.25, **more}
    )  # fmt: skip
    return OperationEnded("app1", result)


def plain(verbose: int) -> tuple[PlainLog, list[str]]:
    lines: list[str] = []
    return PlainLog(terminal()[0], lines.append, verbose), lines


def test_a_plain_log_has_the_instance_in_front_of_every_line() -> None:
    log, lines = plain(0)
    log.entry(entry("instance.online", "app1 is online"))
    log.entry(entry("run.started", "up shop", instance=None))
    log.host(ended(OperationStatus.CHANGED))
    assert lines == [
        "[app1] is online",
        "up shop",
        "[app1] changed      Install HAProxy (recipes/haproxy.py:8) 1.2 s",
    ]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["Install", "Check them and put them in place", "変更を確認して" * 6, "x" * 300])
@pytest.mark.parametrize("file", ["recipes/haproxy.py", "somewhere/else/entirely/with/a/long/path/haproxy.py"])
def test_no_line_of_progress_is_wider_than_the_terminal(columns: int, name: str, file: str) -> None:
    lines: list[str] = []
    log = PlainLog(terminal()[0], lines.append, 2, columns=lambda: columns)
    log.host(ended(OperationStatus.CHANGED, name=name, file=file, line=39))
    log.host(OperationStarted("app1", 9, 10, name))
    log.host(PhaseChanged("app1", name))
    log.entry(entry("instance.setup_failed", f"app1: {name * 4}"))
    assert [line for line in lines if width(line) > columns] == []
    assert lines[0].startswith("[app1] changed      ")
    assert columns == 40 or lines[0].endswith("haproxy.py:39) 1.2 s")
    if columns == 80 and name.startswith("Check") and file.startswith("recipes"):
        assert lines[0] == "[app1] changed      Check them and put them in pl… (recipes/haproxy.py:39) 1.2 s"


def test_what_did_not_change_is_shown_only_on_request() -> None:
    log, lines = plain(0)
    log.host(ended(OperationStatus.UNCHANGED))
    log.host(OutputReceived("app1", 0, "stdout", b"hello\n"))
    assert lines == []
    log, lines = plain(2)
    log.host(PhaseChanged("app1", "connecting"))
    log.host(OperationStarted("app1", 0, 3, "Install HAProxy"))
    log.host(ended(OperationStatus.UNCHANGED))
    assert [line.split(" ", 1)[0] for line in lines] == ["[app1]"] * 3


def test_streamed_output_comes_in_whole_clean_lines() -> None:
    log, lines = plain(1)
    log.host(OutputReceived("app1", 0, "stdout", b"he"))
    log.host(OutputReceived("app2", 0, "stdout", b"other\n"))
    log.host(OutputReceived("app1", 0, "stdout", b"llo\n10%\r50%\r100%\n\x1b[2Jx\xff"))
    log.host(ended(OperationStatus.CHANGED))
    assert lines[:4] == ["[app2]   other", "[app1]   hello", "[app1]   100%", "[app1]   x\\xff"]


def test_a_diff_is_shown_under_its_operation() -> None:
    log, lines = plain(0)
    log.host(ended(OperationStatus.WOULD_CHANGE, diff="--- a\n+++ b\n-old\n+new"))
    assert lines[0].startswith("[app1] would change")
    assert lines[1:] == ["[app1]   --- a", "[app1]   +++ b", "[app1]   -old", "[app1]   +new"]


def test_names_from_hosts_cannot_move_the_cursor() -> None:
    log, lines = plain(2)
    log.host(OperationStarted("app1", 0, 1, "evil\x1b[2J\nname"))
    assert lines == ["[app1] 1/1 evil name ..."]


def test_json_lines_are_one_object_a_line_in_ascii() -> None:
    screen, out, _ = terminal()
    lines = JsonLines(screen)
    lines.entry(entry("instance.online", "app1 is online"))
    lines.host(PhaseChanged("app1", "connecting"))
    lines.host(OperationStarted("app1", 0, 3, "Ünï\x1b[2J"))
    lines.host(OutputReceived("app1", 0, "stderr", b"\xff\n"))
    lines.host(ended(OperationStatus.CHANGED))
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [item["type"] for item in found] == [
        "journal", "phase", "operation_started", "output", "operation_ended",
    ]  # fmt: skip
    assert found[0]["kind"] == "instance.online"
    assert found[3]["data"] == "\\xff\n"
    assert (found[4]["changed"], found[4]["instance"]) == (True, "app1")
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()


def test_activities_know_what_each_host_does_and_for_how_long() -> None:
    clock = ManualClock()
    activities = Activities(clock)
    activities.host(PhaseChanged("app1", "connecting"))
    clock.advance(5)
    activities.host(OperationStarted("app2", 1, 4, "Install"))
    clock.advance(2)
    assert activities.snapshot() == [("app1", "connecting", 7.0), ("app2", "2/4 Install", 2.0)]
    activities.entry(entry("command.successful", "setup is done", instance="app1"))
    assert [name for name, _, _ in activities.snapshot()] == ["app2"]


def test_a_silent_host_is_named_now_and_then() -> None:
    clock, told = ManualClock(), list[str]()
    activities = Activities(clock)
    heartbeat = Heartbeat(activities, told.append, every=30)
    activities.host(OperationStarted("app1", 0, 1, "Install"))
    heartbeat.tell()
    assert told == []
    clock.advance(31)
    heartbeat.tell()
    heartbeat.tell()
    clock.advance(31)
    heartbeat.tell()
    assert told == [
        "[app1] still running after 31 s: 1/1 Install",
        "[app1] still running after 1 min 02 s: 1/1 Install",
    ]


def test_a_fan_hands_everything_on() -> None:
    clock = ManualClock()
    first, second = Activities(clock), Activities(clock)
    Fan(first, second).host(PhaseChanged("app1", "connecting"))
    assert first.snapshot() == second.snapshot() != []


def test_output_without_a_newline_is_not_lost() -> None:
    lines = OutputLines()
    assert list(lines.add(OutputReceived("app1", 0, "stdout", b"a\nb"))) == ["a"]
    assert list(lines.rest("app1")) == ["b"]
    assert list(lines.rest("app1")) == []


def test_the_live_view_fits_the_terminal() -> None:
    activities = [(f"a-long-instance-name-{number}", "Install " + "x" * 200, 100.0 - number) for number in range(60)]
    for columns in (40, 80, 120):
        shown = rows(activities, columns, 20)
        assert len(shown) == 20
        assert all(width(line) <= columns for line in shown)
        assert shown[-1] == "... and 41 more"
        assert shown[0].endswith("1 min 40 s")
