"""How every command that changes something runs: lease, progress, ^C, recap, exit code."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opsflow.cli import report, values
from opsflow.cli.formats import Format
from opsflow.cli.interrupt import Interruptible
from opsflow.cli.invocation import Invocation
from opsflow.cli.options import Locking, Running, Streaming, TargetOptions
from opsflow.cli.progress import Activities, Fan, Heartbeat, JsonLines, Listener, PlainLog
from opsflow.cli.recap import print_recap
from opsflow.cli.text import one_line
from opsflow.errors import ExitCode
from opsflow.wiring import whoami

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.controller import Controller, Outcome, RunOptions
    from opsflow.lifecycle.reach import Targets
    from opsflow.wiring import Session

Action = Callable[["Controller", threading.Event], "Outcome"]


def carry_out(invocation: Invocation, loaded: LoadedStack, output: Streaming, locking: Locking, action: Action) -> int:
    """Do ``action`` as the one writer and report on it; returns the exit code."""
    with opened(invocation, loaded, output, locking) as work:
        return work.do(action)


@contextmanager
def opened(invocation: Invocation, loaded: LoadedStack, output: Streaming, locking: Locking) -> Iterator[Work]:
    """Become the one writer; what an earlier process left behind is reported first."""
    _print_header(invocation, loaded)
    wait = values.seconds("--lock-wait", locking.lock_wait)
    work = Work(invocation, output)
    with invocation.project.session(loaded, whoami(invocation.command_line), wait, work.listener) as session:
        work.controller = session.controller
        _print_recovered(invocation, session)
        yield work


class Work:
    """A session of the command line: who listens, and how an action is run and reported."""

    controller: Controller

    def __init__(self, invocation: Invocation, output: Streaming) -> None:
        self._terminal = invocation.terminal
        self._output = output
        self._activities = Activities(invocation.adapters.clock)
        self._write: Callable[[str], None] = self._terminal.note
        log = PlainLog(
            self._terminal,
            lambda line: self._write(line),
            invocation.verbose,
            columns=lambda: self._terminal.err_columns,
        )
        listeners: list[Listener] = [JsonLines(self._terminal)] if output.jsonl else []
        self.listener = Fan(*listeners, self._activities, log)

    def do(self, action: Action) -> int:
        """Run ``action`` with live progress, cancelled by ^C; print the recap; return the exit code."""
        with Interruptible(self._terminal) as interruptible, self._progress():
            outcome = action(self.controller, interruptible.cancel)
        print_recap(self._terminal, outcome)
        if self._output.format is not Format.TABLE and not self._output.jsonl:
            found = report.run(outcome.run, outcome.commands, outcome.results)
            self._terminal.emit(found, self._output.format)
        if interruptible.cancel.is_set() and outcome.exit_code != ExitCode.OK:
            return ExitCode.INTERRUPTED
        return int(outcome.exit_code)

    @contextmanager
    def _progress(self) -> Iterator[None]:
        """A live view on a terminal, else a heartbeat in the plain log."""
        if not self._terminal.moving or (self._output.jsonl and self._terminal.showing_data):
            with Heartbeat(self._activities, self._terminal.note):
                yield
            return
        from opsflow.cli.live import LiveView

        with LiveView(self._terminal, self._activities) as view:
            self._write = view.write
            try:
                yield
            finally:
                self._write = self._terminal.note


def run_options(running: Running) -> RunOptions:
    """The options of a run as the controller takes them.

    Raises:
        UsageError: one of them cannot be read.
    """
    from opsflow.controller import RunOptions
    from opsflow.planning.rollout import batch_size
    from opsflow.ports import Mode

    batch_size(running.serial, 1)
    return RunOptions(
        mode=Mode.CHECK if running.check else Mode.RUN,
        diff=running.diff,
        serial=running.serial,
        fail_percent=running.fail_percent,
        attributes=values.attributes(running.set or ()),
        timeout=None if running.timeout is None else values.limit("--timeout", running.timeout),
        comment=running.comment,
    )


def targets_of(options: TargetOptions) -> Targets:
    """The instances that were asked for."""
    from opsflow.lifecycle.reach import Targets

    return Targets(
        layers=tuple(options.layer or ()), only=tuple(options.only or ()), exclude=tuple(options.exclude or ())
    )


def _print_recovered(invocation: Invocation, session: Session) -> None:
    """An earlier process was killed: say what became of its commands."""
    terminal = invocation.terminal
    for run in dict.fromkeys(command.run for command in session.recovered):
        commands = [command for command in session.recovered if command.run == run]
        what = ", ".join(f"{command.type} on {command.instance} ({command.status})" for command in commands)
        terminal.note(f"{terminal.paint('note:', 'yellow')} run {run} was interrupted: {one_line(what)}")


def _print_header(invocation: Invocation, loaded: LoadedStack) -> None:
    """With -v: what exactly is run, from which files."""
    if invocation.verbose:
        revision = git_revision(loaded.file.parent)
        invocation.terminal.note(f"command:    {one_line(invocation.command_line)}")
        invocation.terminal.note(f"stack file: {loaded.file} (sha256 {loaded.digest[:12]})")
        if revision:
            invocation.terminal.note(f"revision:   {revision}")


def git_revision(directory: Path) -> str:
    """The commit of the project, with ``+changes`` when files differ from it; empty outside of git."""
    head = _git(directory, ("rev-parse", "--short=12", "HEAD"))
    if not head:
        return ""
    return f"{head}+changes" if _git(directory, ("status", "--porcelain", "--untracked-files=no")) else head


def _git(directory: Path, arguments: Sequence[str]) -> str:
    # No hooks, no fsmonitor: looking at a repository must not run anything of it.
    safe = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "--no-optional-locks")
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *safe, *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
