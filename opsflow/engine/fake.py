"""The engine without hosts: every recipe is one operation, and each can be told how to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from opsflow.clock import Clock
from opsflow.engine.fake_rules import Ending, Gate, Rule, use
from opsflow.errors import HostsUnreachable, Problem, RecipeError, UsageError
from opsflow.model.compute import Ssh
from opsflow.model.machine import Machine
from opsflow.model.result import CommandOutput, HostResult, HostStatus, OperationResult, OperationStatus, RunStats
from opsflow.ports import (
    HostJob,
    HostObserver,
    Mode,
    OperationEnded,
    OperationStarted,
    OutputReceived,
    PhaseChanged,
)
from opsflow.redact import Redactor

POLL = 0.005
"""Seconds between two looks at the clock of a recipe that hangs."""


class FakeEngine:
    """Implements :class:`~opsflow.ports.Engine`; the newest rule that fits a recipe decides how it ends.

    A recipe changes a machine once; it reports ``unchanged`` when it runs on that machine again.

    Attributes:
        jobs: every job that :meth:`run` was called with, in order.
        checked: every list of jobs that :meth:`check` was called with.
        ran: (instance, recipe) of every recipe that began, in order.
        commands: (machine id, command) of every :meth:`exec`.
        exec_answers: command -> (exit code, stdout, stderr); others answer 0 and nothing.
        known_facts: fact -> value, for :meth:`facts`.
    """

    def __init__(self, clock: Clock) -> None:
        self.jobs: list[HostJob] = []
        self.checked: list[tuple[HostJob, ...]] = []
        self.ran: list[tuple[str, str]] = []
        self.commands: list[tuple[str, str]] = []
        self.exec_answers: dict[str, tuple[int, bytes, bytes]] = {}
        self.known_facts: dict[str, object] = {"server.Os": "Linux"}
        self.closed = False
        self.clock = clock
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._refused: dict[str, str] = {}
        self._not_ready: list[Rule] = []
        self._applied: set[tuple[str, str]] = set()

    # ---------------------------------------------------------------------------------------- telling it what to do

    def fail(self, instance: str = "*", recipe: str = "*", *, error: str = "boom", times: int | None = None) -> None:
        """The recipe's command ends with exit code 1 and ``error`` on stderr."""
        self._rule(Ending.FAIL, instance, recipe, error, times)

    def hang(self, instance: str = "*", recipe: str = "*", *, times: int | None = None) -> None:
        """The recipe never ends by itself: only by cancel, or by the job's run timeout on the clock."""
        self._rule(Ending.HANG, instance, recipe, "", times)

    def overrun(self, instance: str = "*", recipe: str = "*", *, times: int | None = None) -> None:
        """The recipe is killed for its time limit, at once."""
        self._rule(Ending.OVERRUN, instance, recipe, "", times)

    def unreachable(
        self, instance: str = "*", recipe: str = "*", *, reason: str = "no route to host", times: int | None = None
    ) -> None:
        """The host cannot be reached: from the start if it is the first recipe, else it vanishes in that recipe."""
        self._rule(Ending.UNREACHABLE, instance, recipe, reason, times)

    def hold(self, instance: str = "*", recipe: str = "*", *, times: int | None = None) -> Gate:
        """The recipe sets ``reached`` and waits for ``go``, then ends well."""
        return self._rule(Ending.HOLD, instance, recipe, "", times).gate

    def refuse(self, recipe: str, problem: str = "not supported") -> None:
        """:meth:`check` finds ``problem`` in this recipe."""
        self._refused[recipe] = problem

    def never_ready(self, machine: str = "*", reason: str = "connection refused", *, times: int | None = None) -> None:
        """:meth:`wait_ready` fails for machines whose id, token or address fits the pattern."""
        with self._lock:
            self._not_ready.append(Rule(machine, "*", Ending.UNREACHABLE, reason, times))

    def heal(self) -> None:
        """Forget every rule: everything works again."""
        with self._lock:
            self._rules.clear()
            self._not_ready.clear()
            self._refused.clear()

    def _rule(self, ending: Ending, instance: str, recipe: str, text: str, times: int | None) -> Rule:
        rule = Rule(instance, recipe, ending, text, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def take(self, instance: str, recipe: str) -> Rule | None:
        """The rule for a recipe that begins now; a limited one is used up by this."""
        with self._lock:
            self.ran.append((instance, recipe))
            return use(self._rules, (instance,), recipe)

    # ---------------------------------------------------------------------------------------- the port

    def check(self, jobs: Sequence[HostJob]) -> None:
        """Refuse the recipes that were told to be refused."""
        self.checked.append(tuple(jobs))
        wanted = dict.fromkeys(recipe for job in jobs for recipe in job.recipes)
        problems = [
            Problem(file=f"recipes/{recipe.rpartition('.')[0]}.py", line=1, path=recipe, message=self._refused[recipe])
            for recipe in wanted
            if recipe in self._refused
        ]
        if problems:
            raise RecipeError(problems)

    def run(self, job: HostJob, observe: HostObserver, cancel: threading.Event) -> HostResult:
        """Run the job's recipes in order, each as one operation."""
        with self._lock:
            self.jobs.append(job)
        return _Execution(self, job, observe, cancel).result()

    def wait_ready(self, machine: Machine, ssh: Ssh, timeout: float, cancel: threading.Event) -> str | None:
        """None at once, or the scripted reason after ``timeout`` on the clock."""
        with self._lock:
            rule = use(self._not_ready, (machine.id, machine.token, machine.address or ""), "*")
        if rule is None:
            return None
        if cancel.is_set():
            return "cancelled"
        self.clock.sleep(timeout)
        return rule.text

    def exec(
        self,
        machine: Machine,
        ssh: Ssh,
        command: str,
        *,
        timeout: float,
        output: Callable[[str, bytes], None],
        cancel: threading.Event | None = None,
    ) -> int:
        """Answer from ``exec_answers``."""
        self._reach(machine)
        self.commands.append((machine.id, command))
        exit_code, stdout, stderr = self.exec_answers.get(command, (0, b"", b""))
        for stream, data in (("stdout", stdout), ("stderr", stderr)):
            if data:
                output(stream, data)
        return exit_code

    def facts(self, machine: Machine, ssh: Ssh, names: Sequence[str]) -> Mapping[str, object]:
        """Answer from ``known_facts``."""
        unknown = [name for name in names if name not in self.known_facts]
        if unknown:
            raise UsageError(f"no such fact: {', '.join(unknown)}")
        self._reach(machine)
        return {name: self.known_facts[name] for name in names}

    def _reach(self, machine: Machine) -> None:
        with self._lock:
            rule = use(self._not_ready, (machine.id, machine.token, machine.address or ""), "*")
        if rule:
            raise HostsUnreachable(f"{machine.address or machine.id}: {rule.text}")

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def apply(self, machine: Machine, recipe: str, mode: Mode) -> OperationStatus:
        """What a recipe that ends well does on a machine: it changes it once."""
        with self._lock:
            known = (machine.id, recipe) in self._applied
            if mode is Mode.RUN:
                self._applied.add((machine.id, recipe))
        if known:
            return OperationStatus.UNCHANGED
        return OperationStatus.CHANGED if mode is Mode.RUN else OperationStatus.WOULD_CHANGE


class _Execution:
    """One job on its way through its recipes."""

    def __init__(self, engine: FakeEngine, job: HostJob, observe: HostObserver, cancel: threading.Event) -> None:
        self._engine = engine
        self._job = job
        self._instance = job.node.name
        self._observe = observe
        self._cancel = cancel
        self._redact = Redactor(job.node.secrets)
        self._deadline = engine.clock.monotonic() + job.timeouts.run
        self._operations: list[OperationResult] = []

    def result(self) -> HostResult:
        """Run recipe by recipe until one does not end well; the rest is not run."""
        self._phase("connecting")
        for number, recipe in enumerate(self._job.recipes):
            if self._cancel.is_set():
                return self._ended(HostStatus.CANCELLED, "cancelled")
            rule = self._engine.take(self._instance, recipe)
            if number == 0:
                if rule and rule.ending is Ending.UNREACHABLE:
                    return self._ended(HostStatus.UNREACHABLE, rule.text)
                self._phase("planning")
                self._phase("running")
            status, detail = self._recipe(number, recipe, rule)
            if status is not HostStatus.OK:
                return self._ended(status, detail)
        return self._ended(HostStatus.OK, "")

    def _phase(self, phase: str) -> None:
        self._observe(PhaseChanged(self._instance, phase))

    def _recipe(self, index: int, recipe: str, rule: Rule | None) -> tuple[HostStatus, str]:
        self._observe(OperationStarted(self._instance, index, len(self._job.recipes), recipe))
        status, detail = self._play(rule)
        if status is HostStatus.OK:
            self._record(index, recipe, self._engine.apply(self._job.machine, recipe, self._job.mode), detail="")
        else:
            self._record(index, recipe, OperationStatus.FAILED, detail)
        return status, f"{recipe}: {detail}" if detail else ""

    def _play(self, rule: Rule | None) -> tuple[HostStatus, str]:
        if rule is None:
            return HostStatus.OK, ""
        match rule.ending:
            case Ending.FAIL:
                return HostStatus.FAILED, rule.text
            case Ending.UNREACHABLE:
                return HostStatus.UNREACHABLE, f"link lost: {rule.text}"
            case Ending.OVERRUN:
                return HostStatus.TIMEOUT, "timed out"
            case Ending.HANG:
                return self._wait_for(None)
            case Ending.HOLD:
                rule.gate.reached.set()
                return self._wait_for(rule.gate.go)

    def _wait_for(self, go: threading.Event | None) -> tuple[HostStatus, str]:
        while not self._cancel.wait(POLL):
            if go and go.is_set():
                return HostStatus.OK, ""
            if self._engine.clock.monotonic() >= self._deadline:
                return HostStatus.TIMEOUT, f"timed out after {self._job.timeouts.run:g} s"
        return HostStatus.CANCELLED, "cancelled"

    def _record(self, index: int, recipe: str, status: OperationStatus, detail: str) -> None:
        failed = status is OperationStatus.FAILED
        stderr = self._redact.text(f"{detail}\n") if failed else ""
        if stderr:
            self._observe(OutputReceived(self._instance, index, "stderr", stderr.encode()))
        command = CommandOutput(
            command=f"do {recipe}",
            exit_code=1 if failed else 0,
            stderr=stderr,
            stderr_bytes=len(stderr.encode()),
        )
        result = OperationResult(
            index=index,
            name=recipe,
            operation="fake.operation",
            recipe=recipe,
            file=f"recipes/{recipe.rpartition('.')[0].replace('.', '/')}.py",
            line=1,
            status=status,
            commands=(command,) if failed or status is OperationStatus.CHANGED else (),
        )
        self._operations.append(result)
        self._observe(OperationEnded(self._instance, result))

    def _ended(self, status: HostStatus, detail: str) -> HostResult:
        if status is not HostStatus.OK:
            self._skip_the_rest()
        text = self._redact.text(detail)
        error = f"{self._instance}: {text}" if text else ""
        stats = RunStats(plans=1)
        return HostResult(
            instance=self._instance,
            status=status,
            detail=text,
            error=error,
            operations=tuple(self._operations),
            stats=stats,
        )

    def _skip_the_rest(self) -> None:
        for index, recipe in enumerate(self._job.recipes[len(self._operations) :], start=len(self._operations)):
            self._operations.append(
                OperationResult(
                    index=index,
                    name=recipe,
                    operation="fake.operation",
                    recipe=recipe,
                    status=OperationStatus.NOT_RUN,
                )
            )
