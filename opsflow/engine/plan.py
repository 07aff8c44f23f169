"""A run list as a function: the answers known so far in, a HostPlan out. No I/O on any host.

The recipes are called from the start each time. What has already happened is replayed from the trace; what has not is
assumed: a fact is as it was last answered, a command succeeds. The script verifies each assumption before it matters.
"""

from __future__ import annotations

import base64
import inspect
import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyinfra.api.command import (
    FileDownloadCommand,
    FileUploadCommand,
    FunctionCommand,
    PyinfraCommand,
    StringCommand,
)
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.api.util import get_file_io
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import ctx_config, ctx_host

from opsflow.engine import adapter, calls, quick, recipe, render, residue
from opsflow.engine.adapter import FactFailed, Missing, NeedsResults, NotYet, OutputLost, Refused, Registered
from opsflow.engine.attempts import Attempt, Policy, policy
from opsflow.engine.facts import read_facts
from opsflow.engine.inputs import Inputs, note
from opsflow.engine.messages import (
    Barrier,
    CommandAnswer,
    CommandStep,
    FactAnswer,
    FactStep,
    HostPlan,
    OperationState,
    Outcome,
    PlanFailure,
    PlannedOperation,
    PlanRequest,
    Step,
    UploadStep,
)
from opsflow.engine.node import Node
from opsflow.engine.passwords import Passwords
from opsflow.engine.steady import chance_used, pin_chance, used
from opsflow.model.snapshot import NodeSnapshot

INLINE = 1_000_000
"""Bytes; a larger file is not read into the plan but sent from where it lies."""

CONNECTION = ("ssh_", "ansible_")
"""How a machine is reached is opsflow's matter; pyinfra would check such variables and use none of them."""

TIMELESS = frozenset(
    f"files.{name}" for name in ("block", "directory", "file", "line", "link", "put", "replace", "template")
)
"""Operations that read `stat` for what a file is and to whom it belongs, not for its times."""
ASSUMED_CHANGE = ["(not known yet)"]


class AtBarrier(adapter.Stop):
    """The plan ends here until this has been passed."""

    def __init__(self, barrier: Barrier) -> None:
        super().__init__(barrier.display)
        self.barrier = barrier


CHANGED_BEFORE = ["(run before)"]


class Planner:
    """Makes one HostPlan; used once, since pyinfra's contexts belong to the process."""

    def __init__(self, request: PlanRequest) -> None:
        self._request = request
        self._roots = recipe.resolved(request.recipe_paths)
        self._node = Node(request.node)
        self._missing: dict[str, FactStep] = {}
        self._prepared: dict[str, None] = {}
        self._operations: list[PlannedOperation] = []
        self._assumed = False
        self._replay: list[Outcome] = []
        self._steps: list[Step] | None = None
        self._facts: dict[str, Any] = {}
        self._residue = residue.of(self._roots)
        self._stamp = self._place = ""
        self._places: list[str] = []
        self._passwords = Passwords()
        self._called = False
        self._front = False
        """The operation is the next one to run: everything before it is real."""
        self._number = 0
        self._writes = False
        """Something is written before the present position that has not been written yet."""
        self._likely: list[tuple[str, FactAnswer]] | None = None
        self._current: Registered

    def plan(self) -> HostPlan:
        """The plan; a recipe that is wrong is a plan with a failure."""
        started = time.perf_counter()
        failure = None
        read = Inputs(self._roots)
        note(read)
        try:
            self._run()
        except recipe.RecipeProblem as problem:
            failure = problem.failure
        finally:
            note(None)
        return HostPlan(
            operations=tuple(self._operations),
            missing=tuple(self._missing.values()),
            prepared=tuple(self._prepared),
            reads=self._node.reads,
            facts=self._facts,
            failure=failure,
            seconds=time.perf_counter() - started,
            again=failure is None and read.pure and self._residue.clean,
            inputs=read.files,
            passwords=self._passwords.values,
            lasting=read.pure
            and not self._node.of_the_moment
            and not chance_used()
            and not used
            and not self._mentions_time()
            and not self._passwords.values
            and not self._called,
        )

    def _mentions_time(self) -> bool:
        steps = (step for operation in self._operations for step in operation.steps)
        return any(self._stamp in step.script for step in steps if not isinstance(step, FactStep))

    def _run(self) -> None:
        node = self._request.node
        sent_at = self._request.moment or node.event.sent_at
        moment = datetime.fromisoformat(sent_at) if sent_at else datetime.fromtimestamp(0, UTC)
        self._stamp = adapter.pin_time_and_ids(moment, f"{self._request.origin or node.event.command}:{node.name}")
        pin_chance(self._request.seed or "no run")
        used.clear()
        functions = recipe.load(self._request.recipes, [root.rstrip("/") for root in self._roots])
        self._residue.mark()
        groups, data = _inventory(node)
        quick.forget(self._roots)
        state = adapter.make_state(node.name, groups, data, self._roots)
        self._passwords = state.passwords
        self._state = state
        host = next(iter(state.inventory))
        host.connector = adapter.PlanConnector(state, host, self._answer)
        host.connected = True
        adapter.enter(state)
        state.set_stage(StateStage.Prepare)
        with ctx_host.use(host), ctx_config.use(state.config):
            if self._request.facts:
                self._facts = read_facts(host, self._request.facts)
                return
            complete = self._prepare(state, functions)
            if self._request.prepare_only or not complete:
                return
            state.set_stage(StateStage.Execute)
            state.is_executing = True
            self._generate(state, host)

    # ------------------------------------------------------------------ the recipes' bodies

    def _prepare(self, state: adapter.PlanState, functions: Sequence[tuple[str, recipe.RecipeFunction]]) -> bool:
        """Call the recipes, which registers their operations; False when one stopped at a fact without an answer."""
        for name, function in functions:
            state.recipe = name
            self._enter(state, function)
            try:
                function(self._node)
            except Missing:
                return False
            except adapter.Stop as error:
                raise recipe.RecipeProblem(recipe.failure(error, name, self._roots, message=str(error))) from None
            except BaseException as error:  # noqa: BLE001 - a recipe may raise anything
                raise recipe.RecipeProblem(recipe.failure(error, name, self._roots, function=function)) from None
        return True

    def _enter(self, state: adapter.PlanState, function: recipe.RecipeFunction) -> None:
        """Relative file names belong to the recipe's own directory."""
        file = inspect.unwrap(function).__code__.co_filename if inspect.isfunction(inspect.unwrap(function)) else ""
        state.directory = str(Path(file).parent) if file.startswith(self._roots) else self._roots[0]
        os.chdir(state.directory)

    # ------------------------------------------------------------------ the operations' generators

    def _generate(self, state: adapter.PlanState, host: Host) -> None:
        stopped = False
        self._places = _places(state.registered)
        for index, operation in enumerate(state.registered):
            if stopped:
                self._note(index, operation, OperationState.BARRIER, [])
                continue
            outcomes = self._request.trace[index] if index < len(self._request.trace) else ()
            if index < len(self._request.began) and self._request.began[index] != _noted(index, operation).identity:
                raise recipe.RecipeProblem(_unsteady(operation, "is another operation than before"))
            self._replay = list(outcomes)
            state.directory = operation.directory
            os.chdir(operation.directory)
            stopped = self._operation(index, operation, state, host, complete=index < self._request.done)

    def _operation(
        self, index: int, operation: Registered, state: adapter.PlanState, host: Host, *, complete: bool
    ) -> bool:
        """Plan one operation; True when nothing after it can be planned."""
        steps = self._steps = []
        self._current = operation
        self._front = index == self._request.done
        self._place, self._likely = self._places[index], None
        adapter.captured_warnings()
        try:
            attempt = self._attempts(operation, host, complete)
        except Missing:
            self._assumed = True
            self._note(index, operation, OperationState.MISSING, steps)
            self._complete(operation, True, ASSUMED_CHANGE, NotYet())
            return False
        except NeedsResults:
            return self._awaits(index, operation)
        except AtBarrier as stop:
            if steps or self._front:
                barrier = None if steps else stop.barrier
                place = {"attempt": self._number, "open": True, "barrier": barrier}
                self._note(index, operation, OperationState.PLANNED, steps, **place)
            else:
                self._note(index, operation, OperationState.BARRIER, [])
            return True
        except recipe.RecipeProblem:
            raise
        except (Refused, FactFailed, Exception) as error:
            return self._broken(index, operation, error)
        rules = policy(operation.arguments)
        more = bool(steps) and attempt.number < rules.retries and (attempt.error or rules.until is not None)
        known = {"attempt": attempt.number, "failed": attempt.error and not complete, "open": more}
        self._note(index, operation, OperationState.PLANNED, steps, **known)
        real = complete or not any(not isinstance(step, FactStep) for step in steps)
        output = (OutputLost if attempt.partial else CommandOutput)(attempt.lines) if real else NotYet()
        commands = attempt.commands or (CHANGED_BEFORE if index in self._request.resumed else [])
        self._complete(operation, not attempt.error, commands, output, attempt.number, rules.retries)
        return False

    def _attempts(self, operation: Registered, host: Host, complete: bool) -> Attempt:
        """What has happened to an operation, attempt after attempt; the last one may still have steps to run."""
        rules = policy(operation.arguments)
        number = 0
        while True:
            attempt = Attempt(number)
            self._number = number
            if operation.operation == "files.get" and any(outcome.command for outcome in self._replay):
                # On this machine it is not as it was: the file is there now.
                self._downloaded(attempt)
            else:
                self._attempt(attempt, operation, rules, complete)
            if self._steps or not attempt.again(rules, host.name, operation.title, print):
                return attempt
            number += 1

    def _attempt(self, attempt: Attempt, operation: Registered, rules: Policy, complete: bool) -> None:
        for command in operation.data.command_generator():
            attempt.commands.append(command)
            attempt.add(
                CommandAnswer(success=True) if calls.idle(command) else self._step(command, operation, complete)
            )
            if attempt.error and not rules.continues:
                return

    def _downloaded(self, attempt: Attempt) -> None:
        while self._replay:
            outcome = self._replay.pop(0)
            if outcome.command is not None:
                attempt.commands.append("download")
                attempt.add(outcome.command)
                return

    def _broken(self, index: int, operation: Registered, error: BaseException) -> bool:
        """Its generator failed: for good when everything before it is real, else it waits for real results."""
        if self._assumed and not isinstance(error, Refused):
            return self._awaits(index, operation)
        text = str(error) if isinstance(error, adapter.Stop) else recipe.describe(error)
        notes = [line for line in adapter.captured_warnings() if line not in text]
        self._note(index, operation, OperationState.FAILED, self._steps or [], error="\n".join([text, *notes]))
        return True

    def _awaits(self, index: int, operation: Registered) -> bool:
        """How it goes on is known when its own first commands have run, or else when those before it have."""
        steps = self._steps or []
        if any(not isinstance(step, FactStep) for step in steps):
            self._note(index, operation, OperationState.PLANNED, steps, attempt=self._number, open=True)
        else:
            self._note(index, operation, OperationState.BARRIER, [])
        return True

    def _complete(
        self, operation: Registered, success: bool, commands: list[Any], output: CommandOutput, *retries: int
    ) -> None:
        operation.data.operation_meta.set_complete(success, commands, output, *retries)

    def _step(self, command: PyinfraCommand, operation: Registered, complete: bool) -> CommandAnswer | None:
        """Take what happened to a yielded command from the trace, or add it to the plan (None)."""
        outcome = self._replay.pop(0) if self._replay else None
        if isinstance(command, FunctionCommand) and outcome is not None:
            calls.restore(command, outcome.changes)
        if complete:
            # Its commands may differ now: it has run as it was, and nothing of it will run again.
            render.given(operation.arguments.get("_stdin"))  # which the command has read, if it is a stream
            return _command(outcome, operation)
        if isinstance(command, FunctionCommand | FileDownloadCommand):
            return self._at_barrier(command, operation, outcome)
        step = self._planned(command, operation)
        if outcome is not None:
            if outcome.step != step.identity:
                raise recipe.RecipeProblem(_unsteady(operation))
            return _command(outcome, operation)
        assert self._steps is not None  # noqa: S101 - set while operations are generated
        self._steps.append(step)
        self._assumed = self._writes = True
        return None

    def _at_barrier(
        self, command: FunctionCommand | FileDownloadCommand, operation: Registered, outcome: Outcome | None
    ) -> CommandAnswer:
        """What came of a barrier, or the end of the plan until it has been passed."""
        arguments = self._arguments(command, operation)
        if isinstance(command, FileDownloadCommand):
            barrier = _download(command, arguments)
        else:
            barrier = calls.barrier_of(command)
        if outcome is not None:
            if outcome.step != barrier.display:
                raise recipe.RecipeProblem(_unsteady(operation))
            return _command(outcome, operation)
        if isinstance(command, FunctionCommand) and barrier.what == "call" and self._may_call:
            barrier = self._call(command, operation, barrier, arguments)
        raise AtBarrier(barrier)

    @property
    def _may_call(self) -> bool:
        return self._front and not self._steps and self._request.call == self._request.done

    def _call(
        self, command: FunctionCommand, operation: Registered, barrier: Barrier, arguments: dict[str, Any]
    ) -> Barrier:
        host = next(iter(self._state.inventory))
        where = (operation.recipe, self._roots)
        self._called = self._state.calling = True
        try:
            answer, changes = calls.called(command, self._state, host, arguments.get("_timeout"), where)
        finally:
            self._state.calling = False
        return barrier.model_copy(update={"answer": answer, "changes": changes})

    def _arguments(self, command: PyinfraCommand, operation: Registered) -> dict[str, Any]:
        arguments = {**adapter.connector_arguments(operation.arguments), **command.connector_arguments}
        adapter.refuse_arguments(arguments)
        return self._passwords.named(arguments)

    def _planned(self, command: PyinfraCommand, operation: Registered) -> Step:
        arguments = self._arguments(command, operation)
        timeout = arguments.get("_timeout") or None
        if isinstance(command, StringCommand):
            codes = arguments.get("_success_exit_codes")
            return CommandStep(
                script=render.rendered(command, arguments),
                display=recipe.plain(str(command)),
                timeout=timeout,
                success_codes=tuple(codes) if codes else (0,),
            )
        if isinstance(command, FileUploadCommand):
            return _upload(command, arguments, timeout, private=adapter.sets_mode(operation))
        raise Refused(f"{type(command).__name__} is not supported")

    # ------------------------------------------------------------------ facts

    def _answer(self, key: str) -> FactAnswer:
        if self._steps is None:
            return self._answer_prepare(key)
        if self._state.calling:
            raise Refused(
                "a function cannot read facts or run commands on the host; "
                "read what it needs in the recipe, or run it in an operation and use its output"
            )
        if self._replay:
            outcome = self._replay.pop(0)
            if outcome.fact is None or outcome.step != key:
                raise recipe.RecipeProblem(_unsteady(self._current))
            return outcome.fact
        fact = FactStep(key=key, mask=self._mask(key))
        known = expected = self._expected(key)
        if known is None:
            known = self._request.known.get(key)
        if known is None:
            self._missing.setdefault(key, fact)
            raise Missing
        self._steps.append(fact if expected is None else fact.model_copy(update={"answer": expected}))
        return known

    def _mask(self, key: str) -> str:
        """What pyinfra's file operations never look at in the output of `stat`."""
        if " atime=%X " not in key:
            return ""
        timeless = self._current.operation in TIMELESS and not self._current.timed
        return "times" if timeless else "stat"

    def _expected(self, key: str) -> FactAnswer | None:
        """What the fact is likely to be after what the plan writes before it; None when nothing is."""
        if not self._writes:
            return None
        if self._likely is None:
            self._likely = list(self._request.expected.get(self._place, ()))
        for number, (fact, answer) in enumerate(self._likely):
            if fact == key:
                del self._likely[: number + 1]
                return answer
        return None

    def _answer_prepare(self, key: str) -> FactAnswer:
        self._prepared.setdefault(key)
        pinned = self._request.prepared or {}
        answer = pinned.get(key) or self._request.known.get(key)
        if answer is None:
            self._missing.setdefault(key, FactStep(key=key))
            raise Missing
        return answer

    # ------------------------------------------------------------------ notes

    def _note(self, index: int, operation: Registered, state: OperationState, steps: list[Step], **more: Any) -> None:
        place = self._places[index]
        self._operations.append(_noted(index, operation, state=state, steps=tuple(steps), place=place, **more))


def _inventory(node: NodeSnapshot) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The groups and data of this host for pyinfra: its layers and attributes, and what the inventory says about it."""
    mine = next((member.data for member in node.members if member.name == node.name), {})
    variables = {key: value for key, value in mine.get("variables", {}).items() if not key.startswith(CONNECTION)}
    return tuple(dict.fromkeys((*node.layers, *mine.get("groups", ())))), {**variables, **node.attributes}


def _places(operations: Sequence[Registered]) -> list[str]:
    """Where each of them stands in the recipes, and the how manyth it is there: the same on every host."""
    counted: Counter[str] = Counter()
    places = []
    for operation in operations:
        place = f"{operation.operation} {operation.file}:{operation.line}"
        counted[place] += 1
        places.append(f"{place} {counted[place]}")
    return places


def _noted(index: int, operation: Registered, **more: Any) -> PlannedOperation:
    rules = policy(operation.arguments)
    return PlannedOperation(
        index=index,
        name=recipe.plain(operation.name),
        operation=operation.operation,
        recipe=operation.recipe,
        file=operation.file,
        line=operation.line,
        ignore_errors=bool(operation.arguments.get("_ignore_errors")),
        conditional=bool(operation.arguments.get("_if")),
        retries=rules.retries,
        retry_delay=rules.delay,
        continues=rules.continues,
        **more,
    )


def _command(outcome: Outcome | None, operation: Registered) -> CommandAnswer:
    if outcome is None or outcome.command is None:
        raise recipe.RecipeProblem(_unsteady(operation))
    return outcome.command


def _unsteady(operation: Registered, how: str = "gave other commands for the same facts") -> PlanFailure:
    message = f"operation '{operation.name}' {how}: it depends on something that changes during the run"
    return PlanFailure(message=message, file=operation.file, line=operation.line, recipe=operation.recipe)


def _download(command: FileDownloadCommand, arguments: dict[str, Any]) -> Barrier:
    if not isinstance(command.dest, str):
        raise Refused("downloading into anything but a file is not supported")
    dest = os.path.abspath(command.dest)  # noqa: PTH100 - keeps the links in it
    read = render.download(command.src, arguments)
    return Barrier(what="download", display=f"download {command.src} to {dest}", read=read, dest=dest)


def _upload(
    command: FileUploadCommand, arguments: dict[str, Any], timeout: float | None, *, private: bool
) -> UploadStep:
    source = command.src
    large = isinstance(source, str) and Path(source).stat().st_size > INLINE
    scripts = {
        "dest": command.dest,
        "script": render.upload(command.dest, arguments, private=private, durable=large),
        "read": render.read_file(command.dest, arguments),
    }
    if isinstance(source, str) and large:
        file = Path(source).resolve()
        return UploadStep(path=str(file), size=file.stat().st_size, timeout=timeout, **scripts)
    with get_file_io(source) as stream:
        content = stream.read()
    data = content.encode() if isinstance(content, str) else content
    return UploadStep(content=base64.b64encode(data), size=len(data), timeout=timeout, **scripts)
