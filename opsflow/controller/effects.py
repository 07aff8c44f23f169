"""What a command that begins, and one that is successful, leave in the record of its instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from opsflow.controller.digests import Digests
from opsflow.controller.snapshots import deploy_to
from opsflow.model.command import Command, CommandType
from opsflow.model.events import LifecycleEvent
from opsflow.model.snapshot import AppSnapshot, NodeSnapshot
from opsflow.model.stack import Stack
from opsflow.model.state import Deployed, InstanceState
from opsflow.planning.inputs import app_digest, app_key

Effect = Callable[[InstanceState], InstanceState]


def beginning_of(command: Command, node: NodeSnapshot | None) -> Effect:
    """What it means for the record that ``command`` begins: nobody knows how far it will come."""
    if command.type is CommandType.CONFIGURE:
        return lambda state: _without(state, command.type.value)
    if command.type is CommandType.DEPLOY and node is not None:
        apps = [app for app in node.apps if app.deploy]
        return lambda state: _attempted(state, apps)
    return lambda state: state


def effect_of(
    command: Command, node: NodeSnapshot, *, stack: Stack, digests: Digests, pinned: frozenset[str], now: datetime
) -> Effect:
    """What the success of ``command``, whose recipes saw ``node``, means for the record.

    Args:
        command: the command.
        node: what its recipes saw.
        stack: the stack as declared.
        digests: to remember what setup, configure and deploy were made from.
        pinned: the apps whose revision somebody chose.
        now: the time.
    """
    if command.type in (CommandType.SETUP, CommandType.CONFIGURE):
        event = LifecycleEvent(command.type.value)
        digest = digests.of(event, command.recipes, node)
        return lambda state: _applied(state, {event.value: digest})
    apps = [app for app in node.apps if app.deploy]
    if command.type is CommandType.DEPLOY:
        done = {command.type.value: digests.of(LifecycleEvent.DEPLOY, command.recipes, node)}
        return lambda state: _applied(_deployed(state, apps, stack, pinned, now), done)
    if command.type is CommandType.ROLLBACK:
        return lambda state: _rolled_back(state, apps, stack, now)
    if command.type is CommandType.UNDEPLOY:
        return lambda state: _undeployed(state, {app.name for app in apps})
    return lambda state: state


def _applied(state: InstanceState, digests: dict[str, str]) -> InstanceState:
    return state.model_copy(update={"applied": {**state.applied, **digests}})


def _attempted(state: InstanceState, apps: list[AppSnapshot]) -> InstanceState:
    began = {
        app.name: there.model_copy(update={"attempted": app.release})
        for app in apps
        if (there := state.apps.get(app.name)) and there.release != app.release
    }
    return state.model_copy(update={"apps": {**state.apps, **began}})


def _without(state: InstanceState, *keys: str) -> InstanceState:
    applied = {key: digest for key, digest in state.applied.items() if key not in keys}
    return state.model_copy(update={"applied": applied})


def _deployed(
    state: InstanceState, apps: list[AppSnapshot], stack: Stack, pinned: frozenset[str], now: datetime
) -> InstanceState:
    done = {}
    for app in apps:
        before = state.apps.get(app.name)
        previous = previous_releases(before, app.release, app.keep_releases)
        done[app.name] = Deployed(
            revision=app.revision,
            release=app.release,
            previous=previous,
            revisions={name: before.revision_of(name) for name in previous} if before else {},
            deploy_to=deploy_to(stack, app.name),
            at=now,
            pinned=app.name in pinned,
        )
    digests = {app_key(app.name): app_digest(stack.apps[app.name]) for app in apps}
    return _applied(state.model_copy(update={"apps": {**state.apps, **done}}), digests)


def previous_releases(before: Deployed | None, release: str, keep: int) -> tuple[str, ...]:
    """The releases that stay beside ``release``, newest first; together at most ``keep``."""
    if before is None:
        return ()
    older = [name for name in (before.release, *before.previous) if name and name != release]
    return tuple(older[: keep - 1])


def _rolled_back(state: InstanceState, apps: list[AppSnapshot], stack: Stack, now: datetime) -> InstanceState:
    done = {}
    for app in apps:
        there = state.apps[app.name]
        # Only git can be asked for that revision again when another instance is set up.
        pinned = app.name in stack.apps and stack.apps[app.name].source.kind == "git"
        previous = tuple(name for name in there.previous if name != app.release)
        done[app.name] = there.model_copy(
            update={
                "revision": there.revision_of(app.release),
                "release": app.release,
                "previous": previous,
                "revisions": {name: there.revision_of(name) for name in previous},
                "attempted": "",
                "at": now,
                "pinned": pinned,
            }
        )
    return state.model_copy(update={"apps": {**state.apps, **done}})


def _undeployed(state: InstanceState, gone: set[str]) -> InstanceState:
    left = {name: there for name, there in state.apps.items() if name not in gone}
    return _without(state.model_copy(update={"apps": left}), *(app_key(app) for app in gone))
