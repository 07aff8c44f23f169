"""One command on one instance: the snapshot when it starts, the engine, the result."""

from __future__ import annotations

from collections.abc import Sequence

from opsflow.controller.effects import beginning_of, effect_of
from opsflow.controller.ledger import News
from opsflow.controller.resuming import Resuming
from opsflow.controller.snapshots import AppsNow, node_snapshot
from opsflow.controller.work import Work, changes_of
from opsflow.errors import ExitCode, SourceError
from opsflow.lifecycle.commands import status_of
from opsflow.lifecycle.reach import statuses_for
from opsflow.lifecycle.runlists import layers_run_list
from opsflow.model.command import Command, CommandStatus, CommandType
from opsflow.model.compute import Timeouts
from opsflow.model.events import LifecycleEvent
from opsflow.model.machine import Machine
from opsflow.model.result import HostResult, HostStatus
from opsflow.model.snapshot import EventSnapshot, NodeSnapshot
from opsflow.model.state import InstanceState, InstanceStatus
from opsflow.ports import Bundle, HostEvent, HostJob, PhaseChanged

_CONNECTING = "connecting"
_EVENTS = {CommandType.ROLLBACK: LifecycleEvent.DEPLOY}


class Executor:
    """Runs the commands of one request. An instance's commands run one at a time."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._parts = work.parts
        self._ssh = work.parts.context.ssh
        self._resuming = Resuming(work.parts.store, work.parts.stack.name, work.run.id, work.parts.clock.now())

    def run(self, command: Command, *, among: frozenset[InstanceStatus] | None = None) -> bool:
        """Run a pending command to its end; whether it was successful.

        Args:
            command: a pending command that is committed.
            among: the statuses in which it makes sense; it is skipped in others.
        """
        with self._work.places.holding(self._parts.locks.of(command.instance)):
            if self._work.now(command).status.final:
                return False
            if self._work.cancel.is_set():
                self._work.close([command], CommandStatus.CANCELLED, "cancelled before it began")
                return False
            state = self._work.records.find(command.instance)
            if state is None or state.status not in (among or statuses_for(command.type)):
                status = state.status if state else "gone"
                self._work.close([command], CommandStatus.SKIPPED, f"{command.instance} is {status}")
                return False
            return self._run(command, state)

    def _run(self, command: Command, state: InstanceState) -> bool:
        recipes = self.recipes(command, state)
        command = command.model_copy(update={"recipes": recipes})
        try:
            node = self._node(command)
        except SourceError as error:
            self._end(command, self._running(command, None), None, detail=error.message)
            return False
        if not recipes:
            self._finish_empty(command, node)
            return True
        if state.machine is None:
            self._work.close([command], CommandStatus.SKIPPED, f"{command.instance} has no machine")
            return False
        running = self._running(command, node)
        job = self.job(running, node, state.machine)
        result = self._on_the_host(job)
        if result.resumed:
            text = f"{running.type} on {running.instance} went on from an earlier run: {result.resumed}"
            self._work.ledger.write(News.of(running, "command.resumed", text, resumes=list(job.resumes)))
        return self._end(running, running, result, node=node)

    def _on_the_host(self, job: HostJob) -> HostResult:
        """Run it; as long as the host does not answer, its place may be lent."""
        with self._work.places.reaching() as reaching:

            def observe(event: HostEvent) -> None:
                if isinstance(event, PhaseChanged):
                    reaching(event.phase == _CONNECTING)
                self._parts.observe.host(event)

            return self._parts.engine.run(job, observe, self._work.cancel)

    def recipes(self, command: Command, state: InstanceState) -> tuple[str, ...]:
        """The run list of a command, as the stack binds it now."""
        if command.type is CommandType.EXECUTE_RECIPES:
            return command.recipes
        event = _EVENTS.get(command.type) or LifecycleEvent(command.type.value)
        return layers_run_list(self._parts.stack, state.layers, event, self._parts.catalog.modules())

    def job(self, command: Command, node: NodeSnapshot, machine: Machine) -> HostJob:
        """The engine's job for a command."""
        options = self._work.options
        return HostJob(
            run=command.run,
            command=command.id,
            epoch=command.epoch,
            machine=machine,
            ssh=self._ssh,
            recipes=command.recipes,
            node=node,
            timeouts=self._timeouts(command, node),
            mode=options.mode,
            diff=options.diff,
            store=self._parts.lease.store if self._parts.lease else "",
            resumes=() if options.checking else self._resuming.of(command),
        )

    def _timeouts(self, command: Command, node: NodeSnapshot) -> Timeouts:
        stack = self._parts.stack
        limits = stack.timeouts_of(node.name) if node.name in stack.members else stack.timeouts
        if command.type is CommandType.SHUTDOWN:
            return limits.model_copy(update={"run": shutdown_timeout(self._work, node.layers)})
        if self._work.options.timeout is not None:
            return limits.model_copy(update={"run": self._work.options.timeout})
        return limits

    # ---------------------------------------------------------------------------------------- the node

    def _node(self, command: Command) -> NodeSnapshot:
        """The stack as it is at this moment."""
        observed = self._work.records.state()
        return node_snapshot(
            self._parts.stack,
            observed,
            command.instance,
            EventSnapshot(
                type=command.type,
                reason=command.reason,
                run=command.run,
                command=command.id,
                sent_at=self._work.run.created_at.isoformat(),
            ),
            over=self._work.options.attributes,
            apps=self._apps(command),
            neighbours=self._parts.neighbours,
        )

    def _apps(self, command: Command) -> AppsNow:
        observed = self._work.records.state()
        state = observed.instances[command.instance]
        mine = self._parts.stack.apps_of(state.layers)
        if command.type is CommandType.ROLLBACK:
            back = {app: to for app in command.apps if (to := state.apps[app].rollback_to)}
            return AppsNow(deploying=command.apps, rollback_to=back)
        if command.type in (CommandType.SETUP, CommandType.DEPLOY):
            wanted = command.apps if command.type is CommandType.DEPLOY else mine
            bundles = {app: self._work.bundles.fetch(app, observed) for app in wanted if app in mine}
            return AppsNow(bundles=bundles, deploying=command.apps)
        if command.type is CommandType.EXECUTE_RECIPES:
            return AppsNow(bundles=self._bundles_there(command, state, mine))
        return AppsNow(deploying=command.apps)

    def _bundles_there(self, command: Command, state: InstanceState, apps: Sequence[str]) -> dict[str, Bundle]:
        """What is deployed on the instance, for recipes that may want it; they also run when it cannot be fetched."""
        found = {}
        for app in apps:
            if app in state.apps:
                try:
                    bundle = self._work.bundles.deployed(app, state.apps[app])
                except SourceError as error:
                    text = f"{state.name} runs its recipes without the bundle of {app}: {error.message}"
                    self._work.ledger.write(News.of(command, "app.unavailable", text))
                    continue
                if bundle is not None:
                    found[app] = bundle
        return found

    # ---------------------------------------------------------------------------------------- committing

    def _running(self, command: Command, node: NodeSnapshot | None) -> Command:
        running = self._work.advanced(command, CommandStatus.RUNNING, recipes=command.recipes)
        text = f"{command.type} on {command.instance}: {', '.join(command.recipes)}"
        news = News.of(running, "command.started", text, reason=command.reason)
        snapshots = [(command.id, node)] if node else []
        changes = changes_of(running, node_snapshots=snapshots)
        if self._work.options.checking:
            self._work.ledger.write(news, changes=changes)
        else:
            self._work.records.update(command.instance, beginning_of(running, node), news, changes=changes)
        self._work.note(running)
        return running

    def _finish_empty(self, command: Command, node: NodeSnapshot) -> None:
        ended = self._work.advanced(command, CommandStatus.SUCCESSFUL, detail="no recipes are bound")
        text = f"{command.type} on {command.instance}: no recipes are bound"
        self._commit(ended, News.of(ended, "command.successful", text), None, node)

    def _end(
        self,
        command: Command,
        running: Command,
        result: HostResult | None,
        *,
        node: NodeSnapshot | None = None,
        detail: str = "",
    ) -> bool:
        status = status_of(result.status) if result else CommandStatus.FAILED
        detail = detail or (result.detail if result else "")
        ended = self._work.advanced(running, status, detail=detail, exit_code=_exit_code(result))
        text = f"{command.type} on {command.instance} is {status}" + (f": {detail}" if detail else "")
        good = node if status is CommandStatus.SUCCESSFUL else None
        self._commit(ended, News.of(ended, f"command.{status}", text), result, good)
        return status is CommandStatus.SUCCESSFUL

    def _commit(self, ended: Command, news: News, result: HostResult | None, node: NodeSnapshot | None) -> None:
        """The end of a command, its result and what it means for the record, in one transaction."""
        results = [(ended.id, result)] if result else []
        changes = changes_of(ended, results=results)
        # A record that was removed meanwhile has nothing to be changed; what happened is written all the same.
        if node is None or self._work.options.checking or self._work.records.find(ended.instance) is None:
            self._work.ledger.write(news, changes=changes)
        else:
            effect = effect_of(
                ended,
                node,
                stack=self._parts.stack,
                digests=self._work.digests,
                pinned=frozenset(app for app in ended.apps if self._is_pinned(app)),
                now=self._parts.clock.now(),
            )
            self._work.records.update(ended.instance, effect, news, changes=changes)
        self._work.note(ended, result=results[0] if results else None)

    def _is_pinned(self, app: str) -> bool:
        return app in self._parts.stack.apps and self._work.bundles.pinned(app, self._work.records.state())


def shutdown_timeout(work: Work, layers: Sequence[str]) -> float:
    """Seconds that the shutdown recipes of an instance may take: the most patient of its layers decides."""
    stack = work.parts.stack
    return max((stack.layers[name].shutdown.timeout for name in layers if name in stack.layers), default=120.0)


def _exit_code(result: HostResult | None) -> int | None:
    if result is None:
        return None
    if result.status is HostStatus.OK:
        return 0
    if result.status is HostStatus.UNREACHABLE:
        return int(ExitCode.UNREACHABLE)
    failed = (operation.exit_code for operation in reversed(result.operations) if operation.exit_code)
    return next(failed, None)
