"""What a host's run did, put together while it runs: operation results, errors for people, live events."""

from __future__ import annotations

import difflib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from opsflow.engine.exchange import Heard
from opsflow.engine.messages import (
    Barrier,
    CommandAnswer,
    CommandStep,
    FactAnswer,
    HostPlan,
    OperationState,
    PlanFailure,
    PlannedOperation,
    UploadStep,
)
from opsflow.engine.shell import Shell
from opsflow.model.result import (
    CommandOutput,
    HostResult,
    HostStatus,
    OperationResult,
    OperationStatus,
    Reads,
    RunStats,
)
from opsflow.ports import HostJob, HostObserver, Mode, OperationEnded, OperationStarted, OutputReceived
from opsflow.redact import Redactor

TAIL = 20
"""Lines of output in an error."""
TOLD = 5
"""Operations told of one by one in a line."""
LONGEST_LINE = 8192
DIFFED = 1_000_000
"""Bytes; a larger file is not compared."""

Read = Callable[[str], FactAnswer | None]


@dataclass
class _Operation:
    """What is known of one operation so far."""

    commands: list[CommandOutput] = field(default_factory=list)
    seconds: float = 0.0
    started: bool = False
    diff: str = ""
    why: str = ""
    """Why its last command was ended, if it was."""
    resumed: str = ""
    changed: bool = False


class Report:
    """Collects one host's results."""

    def __init__(self, job: HostJob, observe: HostObserver) -> None:
        self._job = job
        self._name = job.node.name
        self._observe = observe
        self._redactor = Redactor(job.node.secrets)
        # Quoted for JSON, a character is six bytes at most.
        self._longest_secret = 6 * max((len(secret.encode()) for secret in job.node.secrets), default=0) + 8
        self._working: dict[int, _Operation] = {}
        self._results: dict[int, OperationResult] = {}
        self._planned: tuple[PlannedOperation, ...] = ()
        self._reads = Reads()
        self._seconds: dict[str, float] = {}
        self._round_trips = self._sent = self._received = self._plans = self._hits = self._misses = 0
        self._lines: dict[tuple[int, str], bytes] = {}
        self._printed = ""
        self.detail = ""
        self._error = ""

    @property
    def running(self) -> bool:
        """Whether the job may change the host."""
        return self._job.mode is Mode.RUN

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the block's duration to a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - started

    def count(self, shell: Shell) -> None:
        """Take over the shell's counters."""
        self._round_trips += shell.round_trips
        self._sent += shell.sent
        self._received += shell.received

    def planned(self, plan: HostPlan, *, hit: bool = False) -> None:
        """A plan was made, or one that was kept fits."""
        self._plans += not hit
        self._hits += hit
        self._redactor.add(*plan.passwords.values())
        if plan.output and plan.output != self._printed:
            self._printed = plan.output
            self._observe(OutputReceived(self._name, -1, "recipe", self._redactor.bytes(plan.output.encode())))
        self._planned = plan.operations or self._planned
        self._reads = plan.reads

    def missed(self) -> None:
        """A fact was not as assumed."""
        self._misses += 1

    # ------------------------------------------------------------------ live

    def command_started(self, batch: Sequence[PlannedOperation], place: tuple[int, int]) -> None:
        """A command of an operation begins: say so once for each operation."""
        self.begin(batch[place[0]])

    def begin(self, operation: PlannedOperation) -> None:
        """An operation does something: say so once."""
        working = self._working.setdefault(operation.index, _Operation())
        if not working.started:
            working.started = True
            total = len(self._planned)
            self._observe(OperationStarted(self._name, operation.index, total, self._text(operation.name)))

    def output(self, batch: Sequence[PlannedOperation], place: tuple[int, int], stream: str, data: bytes) -> None:
        """Pass output on line by line, so that a secret cannot slip through between two pieces."""
        index = batch[place[0]].index
        data = self._lines.pop((index, stream), b"") + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > LONGEST_LINE:
            # What is cut off may begin with a part of a secret, so it is kept for the next piece.
            data = self._redactor.bytes(data)
            cut = max(cut, len(data) - self._longest_secret)
        if data[cut:]:
            self._lines[index, stream] = data[cut:]
        if cut:
            self._observe(OutputReceived(self._name, index, stream, self._redactor.bytes(data[:cut])))

    def say(self, operation: PlannedOperation, text: str) -> None:
        """Pass on what the engine has to say about an operation that is under way."""
        self._flush(operation.index)
        self._observe(OutputReceived(self._name, operation.index, "stderr", self._text(text).encode()))

    def _flush(self, index: int) -> None:
        for stream in ("stdout", "stderr"):
            data = self._lines.pop((index, stream), b"")
            if data:
                self._observe(OutputReceived(self._name, index, stream, self._redactor.bytes(data)))

    # ------------------------------------------------------------------ operations

    def command_ended(self, operation: PlannedOperation, step: CommandStep | UploadStep, heard: Heard) -> bool:
        """Note a command's output; whether it succeeded."""
        working = self._working.setdefault(operation.index, _Operation())
        seconds = (heard.ended or heard.exited or heard.started) - heard.started
        working.seconds += seconds
        working.commands.append(
            CommandOutput(
                command=self._text(_display(step)),
                exit_code=heard.exit_code,
                stdout=self._text(_decoded(heard.stdout)),
                stderr=self._text(_decoded(heard.stderr)),
                stdout_bytes=heard.stdout_bytes,
                stderr_bytes=heard.stderr_bytes,
                duration=round(seconds, 6),
                detail=heard.killed or heard.note,
            )
        )
        working.why = heard.killed
        codes = step.success_codes if isinstance(step, CommandStep) else (0,)
        return not heard.killed and heard.exit_code in codes

    def resumed(self, index: int, how: str, *, changed: bool) -> None:
        """An earlier run has something to do with an operation: what was decided."""
        working = self._working.setdefault(index, _Operation())
        working.resumed, working.changed = how, changed

    def passed(self, operation: PlannedOperation, barrier: Barrier, answer: CommandAnswer) -> None:
        """Note how something ended that was no command on the host."""
        working = self._working.setdefault(operation.index, _Operation())
        why = self._text(answer.stderr.strip())
        working.commands.append(
            CommandOutput(command=self._text(barrier.display), exit_code=None if why else 0, detail=why)
        )
        working.why = why.partition("\n")[0]

    def operation_ended(self, operation: PlannedOperation) -> None:
        """An operation ran to its end."""
        working = self._working.get(operation.index, _Operation())
        changed = working.commands or working.changed
        self._end(operation, OperationStatus.CHANGED if changed else OperationStatus.UNCHANGED)

    def operation_failed(self, operation: PlannedOperation) -> None:
        """A command of an operation failed."""
        self._end(operation, OperationStatus.IGNORED if operation.ignore_errors else OperationStatus.FAILED)
        if not operation.ignore_errors:
            commands = self._working[operation.index].commands
            last = next((each for each in reversed(commands) if each.exit_code != 0 or each.detail), commands[-1])
            how = self._working[operation.index].why or f"exit code {last.exit_code}"
            self.detail = self._text(f"operation '{operation.name}' failed: {how}")
            self._error = self._story(operation, how, last)

    def operation_broken(self, operation: PlannedOperation) -> str:
        """An operation could not say what to do; the line for the user."""
        self._end(operation, OperationStatus.FAILED)
        self.detail = self._text(f"operation '{operation.name}' failed: {operation.error.splitlines()[0]}")
        self._error = self._story(operation, operation.error, None)
        return self.detail

    def plan_failed(self, failure: PlanFailure) -> str:
        """A recipe is wrong; the line for the user."""
        where = f"{failure.file}:{failure.line}" if failure.line else failure.file
        lines = [f"{self._name}: recipe {failure.recipe or ', '.join(self._job.recipes)} failed: {failure.message}"]
        lines += [f"  at {where}"] if where else []
        lines += [f"    {failure.snippet}"] if failure.snippet else []
        lines += [f"  {failure.hint}"] if failure.hint else []
        self._error = self._text("\n".join(lines))
        return self._text(f"{failure.recipe or 'recipe'}: {failure.message}")

    def _end(self, operation: PlannedOperation, status: OperationStatus) -> None:
        self._flush(operation.index)
        working = self._working.get(operation.index, _Operation())
        result = self._result(operation, status, working)
        self._results[operation.index] = result
        self._observe(OperationEnded(self._name, result))

    def _result(self, operation: PlannedOperation, status: OperationStatus, working: _Operation) -> OperationResult:
        return OperationResult(
            index=operation.index,
            name=self._text(operation.name),
            operation=operation.operation,
            recipe=operation.recipe,
            file=operation.file,
            line=operation.line,
            status=status,
            duration=round(working.seconds, 6),
            commands=tuple(working.commands),
            diff=self._text(working.diff),
            detail=working.resumed,
        )

    def _story(self, operation: PlannedOperation, how: str, command: CommandOutput | None) -> str:
        lines = [f"{self._name}: operation '{operation.name}' failed: {how}"]
        lines.append(f"  at {operation.file}:{operation.line} in {operation.recipe} ({operation.operation})")
        if command is not None:
            lines.append(f"  command: {_short(command.command)}")
            for stream in ("stderr", "stdout"):
                tail = getattr(command, stream).rstrip("\n").split("\n")[-TAIL:]
                if tail != [""]:
                    lines += [f"  {stream}:", *(f"    {line[:LONGEST_LINE]}" for line in tail)]
                    break
        return self._text("\n".join(lines))

    # ------------------------------------------------------------------ check mode and diffs

    def would(self, plan: HostPlan, read: Read) -> None:
        """Check mode: what each operation would do."""
        if self._job.diff:
            self.diffs(plan.operations, read)
        for operation in plan.operations:
            working = self._working.setdefault(operation.index, _Operation())
            writes = [_display(step) for step in operation.steps if isinstance(step, CommandStep | UploadStep)]
            writes += [operation.barrier.display] if operation.barrier is not None else []
            working.commands = [CommandOutput(command=self._text(text)) for text in writes]
            self._end(operation, _would(operation, bool(writes)))

    def diffs(self, operations: Sequence[PlannedOperation], read: Read) -> None:
        """Compare the files that operations write with what is there."""
        for operation in operations:
            for step in operation.steps:
                if isinstance(step, UploadStep) and step.content is not None and step.size <= DIFFED:
                    before = read(step.read)
                    old = before.stdout if before is not None and before.exit_code == 0 else None
                    working = self._working.setdefault(operation.index, _Operation())
                    working.diff += _diff(step.dest, old, step.content)

    @property
    def wants_diff(self) -> bool:
        """Whether files are compared before they are written."""
        return self._job.diff

    # ------------------------------------------------------------------ the result

    def result(self, status: HostStatus, detail: str) -> HostResult:
        """The host's result; operations that were never reached are listed as not run."""
        for operation in self._planned:
            if operation.index not in self._results:
                working = self._working.get(operation.index, _Operation())
                begun = bool(working.commands or working.started)
                kind = OperationStatus.FAILED if begun and status is not HostStatus.OK else OperationStatus.NOT_RUN
                self._results[operation.index] = self._result(operation, kind, working)
        detail = self._text(detail)
        return HostResult(
            instance=self._name,
            status=status,
            detail=detail,
            error="" if status is HostStatus.OK else self._error or f"{self._name}: {detail}",
            resumed=_resumed(self._results),
            operations=tuple(self._results[index] for index in sorted(self._results)),
            reads=self._reads,
            stats=RunStats(
                round_trips=self._round_trips,
                bytes_sent=self._sent,
                bytes_received=self._received,
                plans=self._plans,
                hits=self._hits,
                misses=self._misses,
                seconds={phase: round(seconds, 6) for phase, seconds in self._seconds.items()},
            ),
        )

    def defect(self, error: Exception) -> HostResult:
        """The engine itself went wrong: the host's result, with all that is needed to find out why."""
        story = "".join(traceback.format_exception(error))
        self._error = self._text(f"{self._name}: this is a defect of opsflow\n{story}")
        return self.result(HostStatus.FAILED, f"defect of opsflow: {type(error).__name__}: {error}")

    def _text(self, value: str) -> str:
        return self._redactor.text(value)


def _resumed(results: Mapping[int, OperationResult]) -> str:
    """What an earlier run had to do with this one, in one line."""
    told = [f"'{results[index].name}': {results[index].detail}" for index in sorted(results) if results[index].detail]
    more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
    return "; ".join(told[:TOLD]) + more


def _would(operation: PlannedOperation, writes: bool) -> OperationStatus:
    if operation.state is OperationState.FAILED:
        return OperationStatus.FAILED
    if operation.state is not OperationState.PLANNED or (writes and operation.conditional):
        return OperationStatus.MAYBE
    return OperationStatus.WOULD_CHANGE if writes else OperationStatus.UNCHANGED


def _display(step: CommandStep | UploadStep) -> str:
    return step.display if isinstance(step, CommandStep) else f"write {step.dest} ({step.size} bytes)"


def _decoded(data: bytes | bytearray) -> str:
    return bytes(data).decode(errors="backslashreplace")


def _short(command: str) -> str:
    return command if len(command) <= 500 else f"{command[:500]} ... ({len(command)} characters)"


def _diff(path: str, old: str | None, new: bytes) -> str:
    try:
        text = new.decode()
    except UnicodeDecodeError:
        return f"{path}: binary content differs\n"
    before = [] if old is None else old.splitlines(keepends=True)
    after = text.splitlines(keepends=True)
    names = ("/dev/null" if old is None else path, path)
    lines = difflib.unified_diff(before, after, *names)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
