"""A model world: stacks, observed states and an interpreter of plans that obeys the lifecycle table."""

from datetime import UTC, datetime

from opsflow.lifecycle.states import Trigger, can_start, transition
from opsflow.model.events import LifecycleEvent
from opsflow.model.machine import Machine, MachineState
from opsflow.model.stack import Stack
from opsflow.model.state import Deployed, InstanceState, StackState
from opsflow.model.state import InstanceStatus as S
from opsflow.planning import Inputs, Plan, Step, StepKind
from opsflow.planning.inputs import app_digest, app_key

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)  # a Monday
FUNCTIONS = {
    "base": {"setup", "configure", "shutdown"},
    "proxy": {"setup", "configure"},
    "release": {"deploy", "undeploy"},
}


def shop(**changes) -> Stack:
    return Stack.model_validate(
        {
            "stack": "shop",
            "compute": {"provider": "fake"},
            "layers": {
                "lb": {"recipes": ["base", "proxy"], "instances": {"lb1": {}}},
                "app": {
                    "recipes": ["base", "release"],
                    "instances": {
                        "app1": {},
                        "app2": {},
                        "office": {"runs": "time", "hours": {"mon-fri": "8-20"}},
                        "burst1": {"runs": "load"},
                    },
                },
            },
            "apps": {"storefront": {"layers": ["app"], "source": {"directory": "storefront"}}},
        }
        | changes
    )


class World:
    """Instances as they are; applies plans by the table and refuses what the table refuses."""

    def __init__(self, stack: Stack, instances: dict[str, InstanceState] | None = None) -> None:
        self.stack = stack
        self.instances = dict(instances or {})
        self.log: list[tuple[StepKind, str]] = []

    def observed(self) -> StackState:
        return StackState(stack=self.stack.name, version=len(self.log), instances=self.instances)

    def digest(self, name: str, event: LifecycleEvent) -> str:
        layers = self.stack.members[name].layers
        if event is LifecycleEvent.CONFIGURE:
            return f"configure {layers} {sorted(self.observed().online)}"
        return f"setup {layers} {self.stack.attributes}"

    def inputs(self) -> Inputs:
        return Inputs(functions=FUNCTIONS, digest=self.digest, stack_file="f", recipes="r")

    def apply(self, plan: Plan) -> None:
        for step in plan.steps:
            getattr(self, step.kind.value)(step)
            self.log.append((step.kind, step.instance))

    def move(self, name: str, *triggers: Trigger, **update) -> None:
        state = self.instances[name]
        status = state.status
        for trigger in triggers:
            status = transition(status, trigger)
        self.instances[name] = state.model_copy(update={"status": status, **update})

    def create(self, step: Step) -> None:
        if step.instance not in self.instances:
            layers = self.stack.members[step.instance].layers
            self.instances[step.instance] = instance(step.instance, S.STOPPED, layers=layers, machine=None)
        assert self.instances[step.instance].machine is None
        self._boot(step.instance, {"machine": machine(step.instance), "apps": {}, "applied": {}})

    def start(self, step: Step) -> None:
        assert self.instances[step.instance].machine is not None
        self._boot(step.instance, {})

    def _boot(self, name: str, update: dict) -> None:
        if can_start(self.instances[name].status):
            self.move(name, Trigger.START)
        for status, trigger in ((S.REQUESTED, Trigger.ACCEPTED), (S.PENDING, Trigger.MACHINE_STARTS)):
            if self.instances[name].status is status:
                self.move(name, trigger)
        assert self.instances[name].status is S.BOOTING
        self.move(name, **update)

    def reconnect(self, step: Step) -> None:
        rebooting = self.instances[step.instance].status is S.REBOOTING
        self.move(step.instance, Trigger.REBOOTED if rebooting else Trigger.SEEN)

    def setup(self, step: Step) -> None:
        status = self.instances[step.instance].status
        if status is not S.RUNNING_SETUP:
            self.move(step.instance, Trigger.REACHABLE if status is S.BOOTING else Trigger.SETUP)
        digest = self.digest(step.instance, LifecycleEvent.SETUP)
        applied = {**self.instances[step.instance].applied, "setup": digest}
        layers = self.stack.members[step.instance].layers
        self.move(step.instance, Trigger.SETUP_SUCCEEDED, layers=layers, applied=applied)

    def deploy(self, step: Step) -> None:
        state = self.instances[step.instance]
        assert state.online
        done = {app: deployed() for app in step.apps}
        marks = {app_key(app): app_digest(self.stack.apps[app]) for app in step.apps}
        self.move(step.instance, apps={**state.apps, **done}, applied={**state.applied, **marks})

    def undeploy(self, step: Step) -> None:
        state = self.instances[step.instance]
        assert state.online
        self.move(step.instance, apps={app: found for app, found in state.apps.items() if app not in step.apps})

    def configure(self, step: Step) -> None:
        state = self.instances[step.instance]
        assert state.online
        digest = self.digest(step.instance, LifecycleEvent.CONFIGURE)
        self.move(step.instance, applied={**state.applied, "configure": digest})

    def stop(self, step: Step) -> None:
        if self.instances[step.instance].status not in (S.STOPPING, S.SHUTTING_DOWN):
            self.move(step.instance, Trigger.STOP)
        if self.instances[step.instance].status is S.STOPPING:
            self.move(step.instance, Trigger.SHUT_DOWN)
        self.move(step.instance, Trigger.STOPPED)

    def terminate(self, step: Step) -> None:
        status = self.instances[step.instance].status
        if status not in (S.STOPPED, S.STOPPING, S.SHUTTING_DOWN, S.TERMINATING, S.TERMINATED):
            self.move(step.instance, Trigger.STOP)
        if self.instances[step.instance].status is S.STOPPING:
            self.move(step.instance, Trigger.SHUT_DOWN)
        if self.instances[step.instance].status in (S.STOPPED, S.SHUTTING_DOWN):
            self.move(step.instance, Trigger.TERMINATE)
        del self.instances[step.instance]


def machine(name: str) -> Machine:
    return Machine(id=name, token=f"token-{name}", state=MachineState.RUNNING, address="127.0.0.1")


def deployed() -> Deployed:
    return Deployed(revision="r" * 40, release="r" * 12, deploy_to="/srv/www/storefront", at=NOW)


def instance(name: str, status: S, layers=("app",), **fields) -> InstanceState:
    fields.setdefault("machine", machine(name))
    return InstanceState(
        stack="shop", name=name, layers=layers, status=status, created_at=NOW, changed_at=NOW, **fields
    )
