"""A stack without hosts: fake machines, fake engine, memory store, and controllers one after the other."""

import threading
from contextlib import contextmanager
from pathlib import Path

from opsflow.clock import ManualClock
from opsflow.controller import Controller, Outcome, StackContext
from opsflow.engine.fake import FakeEngine
from opsflow.errors import SourceError
from opsflow.model.stack import Stack
from opsflow.model.state import InstanceStatus
from opsflow.ports import Bundle, RecipeSource
from opsflow.providers.compute.fake import FakeProvider
from opsflow.store.memory import Backing, MemoryStore

FUNCTIONS = {
    "base": ("setup", "configure", "shutdown", "report"),
    "haproxy": ("setup", "configure"),
    "python_app": ("setup", "configure"),
    "release": ("deploy", "undeploy"),
    "redis": ("setup",),
}


def shop(**changes) -> Stack:
    app = {"recipes": ["base", "python_app", "release"], "instances": {"app1": {}, "app2": {}}}
    document = {
        "stack": "shop",
        "compute": {"provider": "fake"},
        "layers": {
            "lb": {"recipes": ["base", "haproxy"], "instances": {"lb1": {}}},
            "app": app,
            "store": {"recipes": ["base", "redis"], "instances": {"store1": {}}},
        },
        "apps": {"storefront": {"layers": ["app"], "source": {"git": "./storefront"}}},
    }
    return Stack.model_validate(document | changes)


class DictCatalog:
    """Recipes that exist because they are listed."""

    def __init__(self, functions=FUNCTIONS) -> None:
        self.functions = dict(functions)
        self.versions: dict[str, int] = {}

    def modules(self):
        return {
            module: {name: RecipeSource(f"{module}.{name}", Path(f"recipes/{module}.py"), 1) for name in names}
            for module, names in self.functions.items()
        }

    def digest(self, recipes):
        return " ".join(f"{name}@{self.versions.get(name.rpartition('.')[0], 1)}" for name in recipes)


class DictSources:
    """Sources whose head is a letter."""

    def __init__(self) -> None:
        self.head = "a"
        self.broken = ""
        self.fetched: list[tuple[str, str | None]] = []

    def fetch(self, name, app, revision=None):
        self.fetched.append((name, revision))
        if self.broken:
            raise SourceError(self.broken)
        found = revision or self.head
        full = found if len(found) == 40 else found * 40
        return Bundle(Path(f"/cache/{name}-{full[:12]}.tar.gz"), full[:40])


class Listener:
    def __init__(self) -> None:
        self.entries, self.events = [], []
        self.on_entry = lambda entry: None

    def entry(self, entry) -> None:
        self.entries.append(entry)
        self.on_entry(entry)

    def host(self, event) -> None:
        self.events.append(event)

    def kinds(self, instance=None):
        return [entry.kind for entry in self.entries if instance in (None, entry.instance)]

    def statuses(self, instance):
        return [kind.partition(".")[2] for kind in self.kinds(instance) if kind.startswith("instance.")]


class ControllerWorld:
    """Everything that outlives a controller."""

    def __init__(self, stack: Stack | None = None) -> None:
        self.clock = ManualClock()
        self.stack = stack or shop()
        self.compute = FakeProvider(self.clock)
        self.engine = FakeEngine(self.clock)
        self.catalog = DictCatalog()
        self.sources = DictSources()
        self.backing = Backing()
        self.listener = Listener()
        self.file_digest = "file-1"
        self.parallel = 8
        self.debounce = 2.0

    def change(self, stack: Stack) -> None:
        self.stack = stack
        self.file_digest += "+"

    @property
    def store(self):
        return MemoryStore(self.clock, self.backing)

    @contextmanager
    def controller(self, store=None, compute=None, engine=None):
        store = store or self.store
        with store.lease("tester") as lease:
            yield self._controller(store, lease, compute, engine)

    def planner(self) -> Controller:
        """One without a lease: it only plans."""
        return self._controller(self.store, None)

    def _controller(self, store, lease, compute=None, engine=None) -> Controller:
        return Controller(
            StackContext(self.stack, Path("/project/stacks/shop.yml"), Path("/project"), self.file_digest),
            store=store,
            lease=lease,
            compute=compute or self.compute,
            engine=engine or self.engine,
            catalog=self.catalog,
            sources=self.sources,
            clock=self.clock,
            observe=self.listener,
            parallel=self.parallel,
            debounce=self.debounce,
        )

    def do(self, action) -> Outcome:
        with self.controller() as controller:
            controller.recover()
            return action(controller)

    def up(self, cancel: threading.Event | None = None) -> Outcome:
        return self.do(lambda controller: controller.apply(controller.plan_up(), cancel))

    def plan(self):
        with self.controller() as controller:
            return controller.plan_up()

    # ------------------------------------------------------------------------------------ looking

    def state(self, name):
        return self.store.state("shop").instances[name]

    def statuses(self):
        return {name: state.status.value for name, state in self.store.state("shop").instances.items()}

    def online(self):
        return set(self.store.state("shop").online)

    def ran(self, outcome: Outcome, kind: str):
        return [
            command.instance for command in outcome.commands if command.type == kind and command.status == "successful"
        ]

    def forget(self) -> None:
        """Only what comes now counts."""
        self.engine.jobs.clear()
        self.engine.ran.clear()
        self.compute.calls.clear()
        self.listener.entries.clear()
        self.sources.fetched.clear()


ONLINE = InstanceStatus.ONLINE.value
EVERYONE = {"lb1", "app1", "app2", "store1"}
