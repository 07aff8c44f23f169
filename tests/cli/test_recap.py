"""The end of a run, as it stands on the screen."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from opsflow.cli.recap import print_recap
from opsflow.cli.terminal import Terminal
from opsflow.clock import ManualClock
from opsflow.controller.context import Outcome
from opsflow.errors import ExitCode
from opsflow.model.command import Command, CommandStatus, CommandType, Run, RunStatus
from opsflow.model.result import HostResult, HostStatus, OperationResult, OperationStatus

START = ManualClock().now()


def operation(name: str, status: OperationStatus, duration: float = 0.0) -> OperationResult:
    return OperationResult(
        index=0, name=name, operation="server.shell", recipe="web.setup", status=status, duration=duration
    )


def command(number: int, instance: str, status: CommandStatus, seconds: float = 2.0) -> Command:
    return Command(
        id=str(number), run="142", stack="shop", instance=instance, type=CommandType.SETUP, status=status,
        created_at=START, acknowledged_at=START, completed_at=START + timedelta(seconds=seconds),
    )  # fmt: skip


def recap(status: RunStatus, *pairs: tuple[Command, HostResult], failures: dict[str, str] | None = None) -> list[str]:
    run = Run(
        id="142", stack="shop", action="up", status=status, created_at=START, completed_at=START + timedelta(seconds=65)
    )
    outcome = Outcome(
        run,
        tuple(found for found, _ in pairs),
        {found.id: result for found, result in pairs},
        ExitCode.OK,
        failures or {},
    )
    err = io.StringIO()
    print_recap(Terminal(io.StringIO(), err), outcome)
    return err.getvalue().splitlines()


def test_a_successful_run_counts_per_host_and_needs_no_retry() -> None:
    result = HostResult(
        instance="app1",
        status=HostStatus.OK,
        operations=(
            operation("Install", OperationStatus.CHANGED, 1.5),
            operation("Directory", OperationStatus.UNCHANGED),
            operation("Ignored", OperationStatus.IGNORED),
        ),
    )
    lines = recap(RunStatus.SUCCESSFUL, (command(1, "app1", CommandStatus.SUCCESSFUL), result))
    assert lines[1].split() == ["INSTANCE", "RESULT", "OK", "CHANGED", "FAILED", "UNREACHABLE", "TOOK"]
    assert lines[2].split() == ["app1", "successful", "3", "1", "0", "0", "2.0", "s"]
    assert lines[-1] == "Run 142 up: successful in 1 min 05 s"
    assert "  1.5 s  [app1]  Install  web.setup" in lines


def test_the_first_error_in_full_and_the_retry_command_are_the_last_things() -> None:
    story = "recipes/web.py:12 in web.setup\noperation: Install\ncommand: apt-get\nexit code 100\nE: \x1b[31mno\x1b[0m"
    broken = HostResult(
        instance="app2",
        status=HostStatus.FAILED,
        detail="Install failed",
        error=story,
        operations=(operation("Install", OperationStatus.FAILED), operation("Later", OperationStatus.NOT_RUN)),
    )
    later = HostResult(instance="app3", status=HostStatus.FAILED, error="something else")
    lines = recap(
        RunStatus.FAILED,
        (command(3, "app3", CommandStatus.FAILED, 9), later),
        (command(2, "app2", CommandStatus.FAILED, 4), broken),
    )
    assert lines[-9:] == [
        "",
        "First error: setup on app2 (and 1 other instance)",
        "recipes/web.py:12 in web.setup",
        "operation: Install",
        "command: apt-get",
        "exit code 100",
        "E: no",
        "",
        "Retry with: opsflow runs retry 142 --failed",
    ]


def test_an_unreachable_host_is_told_apart() -> None:
    gone = HostResult(instance="app1", status=HostStatus.UNREACHABLE, detail="no route to host")
    lines = recap(RunStatus.FAILED, (command(1, "app1", CommandStatus.FAILED), gone))
    assert lines[2].split()[:6] == ["app1", "unreachable", "0", "0", "0", "1"]
    assert "no route to host" in lines


def test_a_machine_that_never_started_is_part_of_the_recap() -> None:
    lines = recap(RunStatus.FAILED, failures={"app1": "the provider has no more addresses"})
    assert lines[2].split()[:2] == ["app1", "failed"]
    assert lines[-1] == "Retry with: opsflow runs retry 142 --failed"
    assert "the provider has no more addresses" in lines


@pytest.mark.parametrize("columns", ["80", "120"])
def test_long_names_stay_on_one_line(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal(io.StringIO(), err := Tty())
    name = "i" * 63
    slow = operation("Download " + "x" * 200, OperationStatus.CHANGED, 30.0)
    result = HostResult(instance=name, status=HostStatus.OK, operations=(slow,))
    run = Run(id="1", stack="shop", action="up", status=RunStatus.SUCCESSFUL, created_at=START)
    done = command(1, name, CommandStatus.SUCCESSFUL)
    print_recap(screen, Outcome(run, (done,), {"1": result}, ExitCode.OK))
    assert all(len(line) <= int(columns) for line in err.getvalue().splitlines())
