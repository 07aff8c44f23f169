"""The engine over many hosts: connections, planner processes, and one loop for each host."""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from opsflow.clock import Clock
from opsflow.engine.connections import Connections
from opsflow.engine.exchange import Exchange, Limits
from opsflow.engine.memory import Experience, Forgetful, Learned, Memory, Recalled
from opsflow.engine.messages import HostPlan, PlanFailure, PlanRequest
from opsflow.engine.pool import PlannerPool
from opsflow.engine.prelude import end_processes
from opsflow.engine.run import HostRun
from opsflow.engine.scouts import Scouts
from opsflow.engine.session import ConnectError, Connection, LinkLost, Why, stream
from opsflow.engine.shell import NoShell, Shell
from opsflow.errors import HostsUnreachable, Problem, RecipeError, RunFailed, UsageError
from opsflow.model.compute import Ssh, Timeouts
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult
from opsflow.model.snapshot import EventSnapshot, NodeSnapshot
from opsflow.ports import HostJob, HostObserver, Keep, Mode


class PyinfraEngine:
    """Runs recipes made of pyinfra operations over SSH (ports.Engine)."""

    def __init__(
        self,
        recipe_paths: Sequence[Path],
        clock: Clock,
        *,
        plan_timeout: float = 120.0,
        connections: Connections | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._paths = tuple(str(path.resolve()) for path in recipe_paths)
        self._clock = clock
        self._pool = PlannerPool(timeout=plan_timeout)
        self._planning = ThreadPoolExecutor(32, thread_name_prefix="plan")
        self._connections = connections or Connections(clock)
        self._memory = Memory(keep or Forgetful(), self._paths)
        self._scouts = Scouts(clock)
        self._files = ""
        """State of the recipe files at the last check; a run is made of what was checked."""

    def check(self, jobs: Sequence[HostJob]) -> None:
        """Call each different run list once without a host, and report what is wrong with it.

        Raises:
            RecipeError: with every problem found.
        """
        different = {(job.recipes, job.node.layers): job for job in jobs if job.recipes}
        files = self._files = self._memory.state_of_files()
        keys = {key: self._memory.plan_key(files, job.recipes, job.node) for key, job in different.items()}
        new = {key: job for key, job in different.items() if not self._memory.checked(keys[key])}
        requests = [
            PlanRequest(recipe_paths=self._paths, recipes=job.recipes, node=job.node, prepare_only=True)
            for job in new.values()
        ]
        plans = list(self._planning.map(lambda request: self._pool.plan(request, files), requests))
        failures = [plan.failure for plan in plans if plan.failure]
        if failures:
            raise RecipeError(list(dict.fromkeys(_problem(failure) for failure in failures)))
        for key in new:
            self._memory.learn_checked(keys[key])

    def run(self, job: HostJob, observe: HostObserver, cancel: threading.Event) -> HostResult:
        """Run a job; where its facts are remembered, its plan is there before the connection is."""
        files = self._files or self._memory.state_of_files()
        key = self._memory.plan_key(files, job.recipes, job.node)
        recalled = self._memory.recall(job.machine, job.recipes, key)
        request = PlanRequest(recipe_paths=self._paths, recipes=job.recipes, node=job.node, seed=secrets.token_hex(32))

        def plan(request: PlanRequest) -> Future[HostPlan]:
            return self._planning.submit(self._pool.plan, request, files)

        first = None
        if recalled is None:
            self._pool.start()
        elif recalled.plan is None and not recalled.ask and job.mode is Mode.RUN:
            facts = {"known": dict(recalled.facts), "expected": dict(recalled.expected)}
            first = plan(request.model_copy(update=facts))
        with (
            self._connected(job, cancel) as connect,
            self._experience(job, key, observe, cancel) as (experience, observe),
        ):
            return HostRun(
                job,
                request=request,
                plan=plan,
                experience=replace(experience, recalled=recalled, first=first),
                connect=connect,
                clock=self._clock,
                observe=observe,
                cancel=cancel,
            ).run()

    @contextmanager
    def _experience(
        self, job: HostJob, key: str, observe: HostObserver, cancel: threading.Event
    ) -> Iterator[tuple[Experience, HostObserver]]:
        """What the run starts from and leaves behind; where nobody was before, one host goes first."""
        memory, name, leads = self._memory, repr(job.recipes), False

        def unseen() -> Recalled:
            nonlocal leads
            if memory.trace(job.recipes) is None and job.mode is Mode.RUN:
                leads = self._scouts.lead(name, cancel)
            return memory.trace(job.recipes) or Recalled()

        def learn(learned: Learned) -> None:
            if job.mode is Mode.RUN:
                memory.learn(job.machine, job.recipes, learned, key, job.node.secrets)

        try:
            watched = self._scouts.watched(name, observe)
            yield Experience(unseen=unseen, learn=learn), lambda event: (watched if leads else observe)(event)
        finally:
            if leads:
                self._scouts.told(name)

    @contextmanager
    def _connected(self, job: HostJob, cancel: threading.Event) -> Iterator[Callable[[], Connection]]:
        """Makes the job's connection on demand, and gives it back."""
        connections: list[Connection] = []

        def connect() -> Connection:
            while connections:  # Asked again: what was lent before is of no use.
                self._connections.discard(connections.pop())
            connections.append(self._connections.borrow(job.machine, job.ssh, job.timeouts, cancel))
            return connections[-1]

        try:
            yield connect
        finally:
            for connection in connections:
                self._connections.give_back(connection)

    def wait_ready(self, machine: Machine, ssh: Ssh, timeout: float, cancel: threading.Event) -> str | None:
        """Try to log in until it works; the connection is kept for the run that follows."""
        self._pool.start()
        end = self._clock.monotonic() + timeout
        pause = 0.05
        while True:
            try:
                self._connections.reach(machine, ssh, cancel)
                return None
            except ConnectError as error:
                # A wrong host key does not become right by waiting; a boot in progress may still add our key.
                if error.why is Why.HOST_KEY or self._clock.monotonic() >= end:
                    return str(error)
            if cancel.wait(pause):
                return "cancelled"
            pause = min(1.0, pause * 1.5)

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
        """Run one shell command on a channel of its own."""
        end = self._clock.monotonic() + timeout
        cancel = cancel or threading.Event()
        with self._borrowed(machine, ssh) as connection, connection.channel("exec sh") as channel:
            listener = _PidListener(output)
            # A function: the shell has read all of the command before it begins to run it.
            begin = f'echo "{listener.mark}$$" >&2'
            channel.send(f"{begin}\n_run() {{ eval {shlex.quote(command)} </dev/null; }}\n_run\n".encode())
            channel.close_input()
            code = stream(channel, listener, deadline=lambda: 0.0 if cancel.is_set() else end - self._clock.monotonic())
            listener.flush()
            if code is None:
                gone = listener.pid and connection.call(end_processes(listener.pid, whole=True), 30) == 0
                how = "was ended" if gone else "could NOT be ended on the host"
                why = "was cancelled" if cancel.is_set() else f"took more than {timeout:g} s"
                raise RunFailed(f"{machine.address}: the command {why} and {how}")
            return code

    def facts(self, machine: Machine, ssh: Ssh, names: Sequence[str]) -> Mapping[str, object]:
        """Read facts in one or two round trips."""
        node = NodeSnapshot(
            stack="facts",
            name="host",
            layers=(),
            members=(),
            layer_names=(),
            event=EventSnapshot(type="facts", reason=""),
        )
        request = PlanRequest(recipe_paths=self._paths, recipes=(), node=node, facts=tuple(names))
        with self._borrowed(machine, ssh) as connection:
            limits = Limits(lambda _: 60.0, self._clock.monotonic() + 120, threading.Event())
            shell = Shell(connection, self._clock)
            try:
                while True:
                    plan = self._pool.plan(request)
                    if plan.failure is not None:
                        raise UsageError(plan.failure.message, hint=plan.failure.hint)
                    if not plan.missing:
                        return plan.facts
                    exchange = shell.fetch([fact.key for fact in plan.missing], limits)
                    _require_answers(exchange, plan)
                    request = request.model_copy(update={"known": {**request.known, **exchange.facts}})
            finally:
                shell.close()

    def remember(self) -> None:
        """Write down what was learned until now."""
        self._memory.save()

    def close(self) -> None:
        """Close idle connections and end the planner."""
        self._memory.close()
        self._connections.close()
        self._planning.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        self._planning.shutdown()

    # ------------------------------------------------------------------ connections

    @contextmanager
    def _borrowed(self, machine: Machine, ssh: Ssh) -> Iterator[Connection]:
        try:
            with self._connections.lent(machine, ssh, Timeouts(), threading.Event()) as connection:
                yield connection
        except (ConnectError, LinkLost, NoShell) as error:
            raise HostsUnreachable(str(error)) from None


def _require_answers(exchange: Exchange, plan: HostPlan) -> None:
    """Every fact that was asked for has an answer, or asking again would never end."""
    if exchange.lost is not None:
        raise exchange.lost
    if exchange.stopped or not all(fact.key in exchange.facts for fact in plan.missing):
        raise RunFailed(f"the host gave no answer to a fact: {exchange.stopped or 'its shell said nothing'}")


class _PidListener:
    """Takes the line with the shell's pid out of standard error; the rest goes on."""

    def __init__(self, output: Callable[[str, bytes], None]) -> None:
        self._output = output
        self._held: bytes | None = b""
        self.mark = f"{secrets.token_hex(8)} "
        self.pid = 0

    def __call__(self, name: str, data: bytes) -> None:
        if name == "stderr" and self._held is not None:
            self._held += data
            before, _, line = self._held.partition(self.mark.encode())
            number, newline, rest = line.partition(b"\n")
            if not newline:
                return
            self.pid, self._held, data = int(number), None, before + rest
        if data:
            self._output(name, data)

    def flush(self) -> None:
        """Pass on what was held back, when the line never came."""
        if self._held:
            self._output("stderr", self._held)


def _problem(failure: PlanFailure) -> Problem:
    recipe = f"recipe {failure.recipe}: " if failure.recipe else ""
    return Problem(
        failure.file or failure.recipe or "recipes",
        f"{recipe}{failure.message}",
        failure.line or None,
        1 if failure.line else None,
        hint=failure.hint or None,
        snippet=failure.snippet or None,
    )
