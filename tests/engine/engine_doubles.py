"""A connection to this machine: real shells as subprocesses, with the interface of session.Connection."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import textwrap
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from opsflow.clock import SystemClock
from opsflow.engine.exchange import Exchange, Limits, Listener
from opsflow.engine.messages import (
    CommandStep,
    FactAnswer,
    FactStep,
    HostPlan,
    PlannedOperation,
    PlanRequest,
    Step,
    UploadStep,
)
from opsflow.engine.pool import PlannerPool
from opsflow.engine.script import compile_operations
from opsflow.engine.session import LinkLost, ShellEnded
from opsflow.engine.shell import Shell
from opsflow.model.snapshot import EventSnapshot, MemberSnapshot, NodeSnapshot

SHELLS: dict[str, tuple[str, ...]] = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


class LocalChannel:
    def __init__(self, argv: Sequence[str], cwd: Path) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=cwd,
            start_new_session=True,
        )
        self._open = {self._process.stdout.fileno(): 0, self._process.stderr.fileno(): 1}

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise LinkLost("lost the connection to here") from None

    def close_input(self) -> None:
        self._process.stdin.close()

    def read(self, wait: float) -> tuple[bytes, bytes]:
        got = [b"", b""]
        ready, _, _ = select.select(list(self._open), [], [], wait)
        for descriptor in ready:
            data = os.read(descriptor, 1 << 18)
            got[self._open[descriptor]] = data
            if not data:
                del self._open[descriptor]
        if not self._open and not any(got):
            raise ShellEnded(f"the shell ended with {self._process.wait(5)}")
        return got[0], got[1]

    def exit_code(self, timeout: float) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LinkLost("no answer") from None

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class LocalConnection:
    """One kind of shell on this machine."""

    def __init__(self, argv: Sequence[str], cwd: Path) -> None:
        self._argv = argv
        self._cwd = cwd
        self.channels: list[LocalChannel] = []

    def channel(self, command: str) -> LocalChannel:
        assert command == "exec sh"
        self.channels.append(LocalChannel(self._argv, self._cwd))
        return self.channels[-1]

    def call(self, command: str, timeout: float) -> int:
        result = subprocess.run(
            self._argv, input=command.encode() + b"\n", timeout=timeout, cwd=self._cwd, start_new_session=True
        )
        return result.returncode

    def put(self, source: IO[bytes], path: str, proceed: Callable[[], None]) -> None:
        proceed()
        with Path(path).open("wb") as target:
            shutil.copyfileobj(source, target)


class Host:
    """A shell on this machine and the shortest way to run operations in it."""

    def __init__(self, shell: Shell, cancel: threading.Event) -> None:
        self.shell = shell
        self.cancel = cancel
        self.live: list[tuple[int, str, bytes]] = []

    def limits(self, command: float = 30, run: float = 60) -> Limits:
        return Limits(lambda _: command, self.shell.now + run, self.cancel)

    def operations(
        self, *operations: Sequence[Step], command: float = 30, run: float = 60, fresh: Collection[str] | None = None
    ) -> Exchange:
        planned = [
            PlannedOperation(index=i, name=f"op{i}", operation="t", recipe="t.t", steps=tuple(steps))
            for i, steps in enumerate(operations)
        ]
        if fresh is None:
            fresh = {step.key for steps in operations for step in steps if isinstance(step, FactStep)}
        numbers = self.shell.numbers
        facts = {step.key for steps in operations for step in steps if isinstance(step, FactStep)}
        known = {key: numbers.held(numbers.number(key)) or FactAnswer(exit_code=0, stdout="") for key in facts}
        program = compile_operations(planned, numbers, known, fresh=fresh)
        listener = Listener(output=lambda number, stream, data: self.live.append((number, stream, data)))
        return self.shell.run(program, self.limits(command, run), listener)

    def commands(self, *scripts: str, command: float = 30, run: float = 60) -> Exchange:
        return self.operations(*([sh(text)] for text in scripts), command=command, run=run)

    def fetch(self, *keys: str) -> Exchange:
        return self.shell.fetch(list(keys), self.limits())


@contextmanager
def open_host(argv: Sequence[str], cwd: Path) -> Iterator[Host]:
    cancel = threading.Event()
    connection = LocalConnection(argv, cwd)
    shell = Shell(connection, SystemClock())  # type: ignore[arg-type]
    try:
        yield Host(shell, cancel)
    finally:
        shell.close()


def sh(text: str, **more: Any) -> CommandStep:
    return CommandStep(script=text, display=text, **more)


def fact(key: str, mask: str = "") -> FactStep:
    return FactStep(key=key, mask=mask)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that another process does."""
    clock = SystemClock()
    end = clock.monotonic() + seconds
    while not condition():
        assert clock.monotonic() < end, "it did not happen"
        clock.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


def snapshot(name: str = "web1", **more: Any) -> NodeSnapshot:
    values: dict[str, Any] = {
        "stack": "shop",
        "name": name,
        "layers": ("web",),
        "members": (MemberSnapshot(name=name, layers=("web",), status="online", address="127.0.0.1"),),
        "layer_names": ("web",),
        "event": EventSnapshot(
            type="setup", reason="test", run="1", command="1-1", sent_at="2026-01-02T03:04:05+00:00"
        ),
    }
    return NodeSnapshot(**(values | more))


def upload(dest: str, content: bytes) -> UploadStep:
    import base64

    from opsflow.engine import render

    return UploadStep(
        content=base64.b64encode(content),
        size=len(content),
        dest=dest,
        script=render.upload(dest, {}),
        read=render.read_file(dest, {}),
    )


IMPORTS = "from pyinfra import host\nfrom pyinfra.operations import files, server\n"


class Recipes:
    """Recipe modules in a directory, and plans of them with scripted answers to facts."""

    def __init__(self, directory: Path, pool: PlannerPool) -> None:
        self.directory = directory
        self.pool = pool
        directory.mkdir(exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        imports = (
            "from pyinfra import host\nfrom pyinfra.operations import files, server\n" if name.endswith(".py") else ""
        )
        file.write_text(imports + textwrap.dedent(text))
        return file

    def request(self, *names: str, **more: Any) -> PlanRequest:
        values = {"recipe_paths": (str(self.directory),), "recipes": names, "node": snapshot(), "seed": "5" * 64}
        return PlanRequest(**(values | more))

    def plan(self, *names: str, **more: Any) -> HostPlan:
        return self.pool.plan(self.request(*names, **more))

    def settle(self, *names: str, answer: Callable[[str], str | FactAnswer] = lambda key: "", **more: Any) -> HostPlan:
        """Plan until no fact is missing."""
        request = self.request(*names, **more)
        for _ in range(20):
            plan = self.pool.plan(request)
            if not plan.missing:
                return plan
            told = {fact.key: answer(fact.key) for fact in plan.missing}
            known = {k: a if isinstance(a, FactAnswer) else FactAnswer(exit_code=0, stdout=a) for k, a in told.items()}
            request = request.model_copy(update={"known": {**request.known, **known}})
        raise AssertionError("the plan never settles")


def scripts(plan: HostPlan) -> list[list[str]]:
    """Per operation: what it would run; facts are in brackets, uploads are their destinations."""
    return [[_text(step) for step in operation.steps] for operation in plan.operations]


def _text(step: Step) -> str:
    match step:
        case FactStep():
            return f"[{step.key}]"
        case CommandStep():
            return step.script
        case UploadStep():
            return f"{step.dest}={(step.content or b'').decode()}"
