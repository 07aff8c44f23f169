"""The composition root: the only module that names concrete adapters, and imports them when they are needed."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from opsflow.clock import Clock, SystemClock
from opsflow.errors import CapabilityError, OpsflowError, StoreError, UsageError

if TYPE_CHECKING:
    from opsflow.config import LoadedStack
    from opsflow.controller import Controller, Observer, StackContext
    from opsflow.engine.agent.server import Services
    from opsflow.engine.agent.start import Agents
    from opsflow.model.app import App
    from opsflow.model.command import Command
    from opsflow.model.stack import Stack
    from opsflow.model.state import StackState
    from opsflow.ports import AppSources, ComputeProvider, Engine, Lease, RecipeCatalog, Store

STATE_DIRECTORY = ".opsflow"


# ------------------------------------------------------------------------------------------------ adapters


def _sandbox(stack: Stack, project: Project) -> ComputeProvider:
    from opsflow.providers.compute.sandbox import SandboxProvider

    return SandboxProvider(project.private("sandbox"), project.adapters.clock)


def _static(stack: Stack, project: Project) -> ComputeProvider:
    from opsflow.providers.compute.static import StaticProvider

    return StaticProvider(project.inventory(stack), stack.compute.ssh, project.adapters.clock, project.private())


def _absent(stack: Stack, project: Project) -> ComputeProvider:
    name = stack.compute.provider
    ready = ", ".join(sorted(provider for provider, make in PROVIDERS.items() if make is not _absent))
    raise CapabilityError(
        f"stack '{stack.name}': this version of opsflow cannot make machines with the provider '{name}' yet",
        hint=f"set compute/provider to one of {ready}",
    )


PROVIDERS: Mapping[str, Callable[[Stack, Project], ComputeProvider]] = {
    "sandbox": _sandbox,
    "static": _static,
    "container": _absent,
    "ec2": _absent,
    # Machines that do not exist: only tests may have them, and they hand them in.
    "fake": _absent,
}


def _store(path: Path, clock: Clock) -> Store:
    from opsflow.store.sql import SqlStore

    return SqlStore(path, clock)


def _engine(recipe_paths: Sequence[Path], clock: Clock, state: Path) -> Engine:
    from opsflow.engine import PyinfraEngine
    from opsflow.store.keep import FileKeep

    return PyinfraEngine(recipe_paths, clock, keep=FileKeep(state / "memory.db", clock))


def _warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _sources(cache: Path, base: Path) -> AppSources:
    from opsflow.providers.sources import Sources

    return Sources(cache, base)


@dataclass(frozen=True)
class Adapters:
    """Who makes the parts; tests hand in others."""

    store: Callable[[Path, Clock], Store] = _store
    engine: Callable[[Sequence[Path], Clock, Path], Engine] = _engine
    providers: Mapping[str, Callable[[Stack, Project], ComputeProvider]] = field(default_factory=lambda: PROVIDERS)
    sources: Callable[[Path, Path], AppSources] = _sources
    clock: Clock = field(default_factory=SystemClock)
    warm: bool | None = None
    """Whether an agent process keeps the engine for the next call; None: only where one already runs."""
    warn: Callable[[str], None] = _warn


# ------------------------------------------------------------------------------------------------ the agent


def agent_process(serve: Callable[[Path, int], None]) -> None:
    """Be the process that keeps an engine, with one beside it (see engine/agent/process.py)."""
    from opsflow.engine.agent.process import main

    main(_services, SystemClock(), serve)


def _services(recipe_paths: Sequence[Path], state: Path) -> Services:
    from opsflow.engine import PyinfraEngine
    from opsflow.engine.agent.server import Services
    from opsflow.engine.connections import Connections
    from opsflow.store.keep import FileKeep

    clock = SystemClock()
    connections, keep = Connections(clock), FileKeep(state / "memory.db", clock)
    engine = PyinfraEngine(recipe_paths, clock, connections=connections, keep=keep)
    return Services(engine, connections, engine.remember)


# ------------------------------------------------------------------------------------------------ the project


@dataclass(frozen=True)
class Session:
    """The right to change a stack, while it lasts."""

    controller: Controller
    recovered: tuple[Command, ...]
    """Commands that an earlier process left unfinished, with what became of them."""


class Project:
    """A directory with ``stacks/``, its stack files, and its state in ``.opsflow/``."""

    def __init__(self, root: Path, adapters: Adapters) -> None:
        self.root = root
        self.adapters = adapters

    # ------------------------------------------------------------------------------------------- files

    def stacks(self) -> list[str]:
        """Names of the stack files."""
        from opsflow.config import list_stacks

        return [str(name) for name in list_stacks(self.root)]

    def load(self, stack: str) -> LoadedStack:
        """Load a stack by its name or file.

        Raises:
            UsageError: there is no such stack.
            ConfigError: its file is wrong.
        """
        from opsflow.config import find_stack, load_stack

        return load_stack(find_stack(self.root, stack))

    def private(self, *parts: str) -> Path:
        """A directory below ``.opsflow/`` that only this user can enter; it is made when it is missing.

        Raises:
            StoreError: it cannot be made.
        """
        path = self.root / STATE_DIRECTORY
        for part in ("", *parts):
            path = path / part
            try:
                path.mkdir(mode=0o700, exist_ok=True)
                if path.stat().st_mode & 0o077:
                    path.chmod(0o700)
            except OSError as error:
                raise StoreError(f"{path}: cannot keep state here: {error.strerror}") from None
        return path

    @property
    def state_file(self) -> Path:
        """Where the store is."""
        return self.root / STATE_DIRECTORY / "state.db"

    def recipe_paths(self, stack: Stack) -> tuple[Path, ...]:
        """The directories with the stack's recipes."""
        return tuple(self.root / path for path in stack.recipe_paths)

    def inventory(self, stack: Stack) -> Path:
        """The inventory of a stack of existing machines: ``compute.options.inventory``, below ``inventory/``."""
        name = str(stack.compute.options.get("inventory", "hosts.yml"))
        in_folder = self.root / "inventory" / name
        return in_folder if in_folder.exists() or not (self.root / name).exists() else self.root / name

    def missing_source(self, app: App) -> str:
        """Why the source of an app cannot be there, as far as files tell; nothing when it is, or is on the network."""
        from opsflow.providers.sources import missing

        return missing(app.source, self.root)

    def check_recipes(self, loaded: LoadedStack) -> None:
        """See whether every run list of the stack could run, without a host and without the state.

        Raises:
            RecipeError: with every problem.
        """
        from opsflow.controller.preflight import check_stack

        with self.engine(loaded.stack) as engine:
            check_stack(
                self.context(loaded), engine=engine, catalog=self.catalog(loaded.stack), clock=self.adapters.clock
            )

    # ------------------------------------------------------------------------------------------- parts

    def context(self, loaded: LoadedStack) -> StackContext:
        """What a controller knows of the stack's files."""
        from opsflow.controller import StackContext

        return StackContext(stack=loaded.stack, file=loaded.file, root=self.root, digest=loaded.digest)

    def catalog(self, stack: Stack) -> RecipeCatalog:
        """The recipes that the stack may use."""
        from opsflow.engine.catalog import AstCatalog

        return AstCatalog(self.recipe_paths(stack))

    def compute(self, stack: Stack) -> ComputeProvider:
        """The provider of the stack's machines.

        Raises:
            CapabilityError: this version has no such provider.
        """
        return self.adapters.providers[stack.compute.provider](stack, self)

    def sources(self) -> AppSources:
        """Fetches the code of apps."""
        return self.adapters.sources(self.private("cache"), self.root)

    @contextmanager
    def engine(self, stack: Stack) -> Iterator[Engine]:
        """The engine for the stack's recipes, closed at the end; its agent's, if it has one."""
        engine = self._agent_engine(stack) or self._own_engine(stack)
        try:
            yield engine
        finally:
            engine.close()

    def agents(self, stack: Stack) -> Agents:
        """Finds and starts the process that keeps the engine for the stack's recipes."""
        from opsflow.engine.agent.start import Agents

        return Agents(self.recipe_paths(stack), self.root / STATE_DIRECTORY)

    def _own_engine(self, stack: Stack) -> Engine:
        return self.adapters.engine(self.recipe_paths(stack), self.adapters.clock, self.private())

    def _agent_engine(self, stack: Stack) -> Engine | None:
        if self.adapters.warm is False:
            return None
        from opsflow.engine.agent.address import NoAgent

        try:
            agents = self.agents(stack)
            found = agents.start() if self.adapters.warm else agents.running()
        except NoAgent as why:
            if self.adapters.warm:
                self.adapters.warn(f"no warm connections: {why.message}")
            return None
        if found is None:
            return None
        from opsflow.engine.agent.client import AgentEngine

        return AgentEngine(found.socket, lambda: self._own_engine(stack), self.adapters.warn)

    @contextmanager
    def reader(self) -> Iterator[Store]:
        """The store, for reading: needs no lease and does not wait for a writer.

        When nobody writes, what a killed opsflow left open is closed first.
        """
        from opsflow.controller import settle

        with self._opened() as store:
            settle(store, self.adapters.clock, whoami("noting that an earlier opsflow was killed"))
            yield store

    def look(self, loaded: LoadedStack, store: Store) -> tuple[StackState, str]:
        """A stack as it is now: its records beside its machines; and why these could not be looked at, or nothing.

        Writes nothing.
        """
        from opsflow.controller import seen

        recorded = store.state(loaded.stack.name)
        try:
            return seen(recorded, self.compute(loaded.stack), self.adapters.clock.now()), ""
        except OpsflowError as error:
            return recorded, error.message

    def other_machines(self, loaded: LoadedStack, state: StackState) -> dict[str, str]:
        """The instances that the provider describes another machine of than the one that was set up, and why."""
        from opsflow.controller import other_machines

        try:
            return other_machines(state, self.compute(loaded.stack))
        except OpsflowError:
            return {}  # Nothing is known but the records, and these say what was set up.

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        self.private()
        store = self.adapters.store(self.state_file, self.adapters.clock)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def session(self, loaded: LoadedStack, owner: str, wait: float, observe: Observer) -> Iterator[Session]:
        """Become the one writer, clean up after a crashed predecessor, and get a controller of the stack.

        Raises:
            LockHeld: another process is the writer, and was for ``wait`` seconds.
        """
        with ExitStack() as parts:
            compute = self.compute(loaded.stack)
            store = parts.enter_context(self._opened())
            lease = parts.enter_context(store.lease(owner, wait=wait))
            engine = parts.enter_context(self.engine(loaded.stack))
            controller = self._controller(loaded, store, lease, compute, engine, observe)
            yield Session(controller, tuple(controller.recover()))

    @contextmanager
    def planner(self, loaded: LoadedStack, observe: Observer) -> Iterator[Controller]:
        """A controller that can only plan: it has no lease."""
        with self.reader() as store, self.engine(loaded.stack) as engine:
            yield self._controller(loaded, store, None, self.compute(loaded.stack), engine, observe)

    def _controller(
        self,
        loaded: LoadedStack,
        store: Store,
        lease: Lease | None,
        compute: ComputeProvider,
        engine: Engine,
        observe: Observer,
    ) -> Controller:
        from opsflow.controller import Controller

        return Controller(
            self.context(loaded),
            store=store,
            lease=lease,
            compute=compute,
            engine=engine,
            catalog=self.catalog(loaded.stack),
            sources=self.sources(),
            clock=self.adapters.clock,
            observe=observe,
        )


def check_sandboxes() -> str:
    """See whether this machine can run sandboxes; gives why their disks have no size of their own, or nothing.

    Raises:
        CapabilityError: it cannot; the message says what is missing.
    """
    from opsflow.providers.compute.sandbox import SandboxProvider

    with tempfile.TemporaryDirectory(prefix="opsflow-check-") as directory:
        provider = SandboxProvider(Path(directory), SystemClock())
        provider.check()
        return provider.unbounded


def open_project(root: Path, adapters: Adapters | None = None) -> Project:
    """The project in ``root``."""
    return Project(root, adapters or Adapters())


def find_root(start: Path) -> Path | None:
    """The nearest directory at or above ``start`` that contains ``stacks/``."""
    for directory in (start, *start.parents):
        if (directory / "stacks").is_dir():
            return directory
    return None


def require_root(start: Path) -> Path:
    """The nearest directory at or above ``start`` that contains ``stacks/``.

    Raises:
        UsageError: there is none.
    """
    root = find_root(start.resolve())
    if root is None:
        raise UsageError(
            f"no opsflow project here: neither {start.resolve()} nor a directory above it contains stacks/",
            hint="go to your project, name it with --project DIR, or start one with: opsflow init DIR",
        )
    return root


def whoami(command: str) -> str:
    """Who writes and what for, for the lease: ``user@host pid 12: opsflow up shop``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}: {command}"
