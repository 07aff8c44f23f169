"""What recipes see: the whole stack as it is at this moment, for one instance and one event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opsflow.controller.secrets import app_secrets
from opsflow.model.attributes import Attributes, merge_all
from opsflow.model.secrecy import secret_values
from opsflow.model.snapshot import AppSnapshot, EventSnapshot, MemberSnapshot, NodeSnapshot
from opsflow.model.stack import Stack
from opsflow.model.state import Deployed, InstanceState, StackState
from opsflow.ports import Bundle

RELEASE_LENGTH = 12


def release_of(revision: str) -> str:
    """The directory name of a revision under releases/."""
    return revision[:RELEASE_LENGTH]


def deploy_to(stack: Stack, app: str) -> str:
    """The directory of a declared app on its instances."""
    return stack.apps[app].deploy_to or f"/srv/www/{app}"


@dataclass(frozen=True, slots=True)
class AppsNow:
    """What an event means for the apps of an instance."""

    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    """Fetched sources."""
    deploying: Sequence[str] = ()
    """The apps that are deployed, undeployed or rolled back."""
    rollback_to: Mapping[str, str] = field(default_factory=dict)


def node_snapshot(
    stack: Stack,
    observed: StackState,
    name: str,
    event: EventSnapshot,
    *,
    over: Attributes,
    apps: AppsNow,
) -> NodeSnapshot:
    """The node of an instance, declared or not."""
    member, state = stack.members.get(name), observed.instances.get(name)
    layers = state.layers if state else member.layers if member else ()
    known = tuple(layer for layer in stack.layers if layer in layers)
    merged, everyone = attributes(stack, name, known, over), tuple(members(stack, observed))
    return NodeSnapshot(
        stack=stack.name,
        name=name,
        layers=known,
        members=everyone,
        layer_names=tuple(stack.layers),
        attributes=merged,
        apps=tuple(_apps(stack, state, known, apps)),
        packages=tuple(dict.fromkeys(package for layer in known for package in stack.layers[layer].packages)),
        event=event,
        secrets=tuple(dict.fromkeys(_secrets(stack, known, merged, everyone))),
    )


def _secrets(
    stack: Stack, layers: tuple[str, ...], merged: Attributes, everyone: Iterable[MemberSnapshot]
) -> Iterator[str]:
    """What is secret of all that the recipes of an instance of these layers see."""
    for app in stack.apps_of(layers):
        yield from app_secrets(stack.apps[app])
    yield from secret_values(merged)
    for member in everyone:
        yield from secret_values(member.data)


def attributes(stack: Stack, name: str, layers: Sequence[str], over: Attributes) -> dict[str, object]:
    """The merged attributes; an instance that left the file has those of the stack and its layers."""
    if name in stack.members:
        return stack.attributes_of(name, over)
    return merge_all([stack.attributes, *(stack.layers[layer].attributes for layer in layers), over])


def members(stack: Stack, observed: StackState) -> Iterator[MemberSnapshot]:
    """Every instance: the declared ones in the stack's order, then those that are still there."""
    for name, member in stack.members.items():
        state = observed.instances.get(name)
        yield _member(name, state.layers if state else member.layers, state)
    for name, state in observed.instances.items():
        if name not in stack.members:
            yield _member(name, state.layers, state)


def _member(name: str, layers: tuple[str, ...], state: InstanceState | None) -> MemberSnapshot:
    machine = state.machine if state else None
    status = state.status.value if state else "stopped"
    if machine is None:
        return MemberSnapshot(name=name, layers=layers, status=status)
    return MemberSnapshot(
        name=name,
        layers=layers,
        status=status,
        address=machine.address,
        private_address=machine.private_address,
        public_address=machine.public_address,
        ssh_port=machine.port,
        user=machine.user,
        data=machine.data,
    )


def _apps(stack: Stack, state: InstanceState | None, layers: tuple[str, ...], now: AppsNow) -> Iterator[AppSnapshot]:
    deployed = state.apps if state else {}
    for name in stack.apps_of(layers):
        yield _app(stack, name, deployed.get(name), now)
    for name in now.deploying:
        if name not in stack.apps_of(layers) and name in deployed:
            # It left the file or the layer, and is undeployed: what is known of it is what was deployed.
            there = deployed[name]
            yield AppSnapshot(
                name=name,
                layers=(),
                revision=there.revision,
                release=there.release,
                deploy_to=there.deploy_to,
                deploy=True,
            )


def _app(stack: Stack, name: str, there: Deployed | None, now: AppsNow) -> AppSnapshot:
    app = stack.apps[name]
    bundle = now.bundles.get(name)
    back = now.rollback_to.get(name)
    release = back or (release_of(bundle.revision) if bundle else there.release if there else "")
    revision = bundle.revision if bundle else there.revision_of(release) if there else ""
    return AppSnapshot(
        name=name,
        layers=app.layers,
        revision=revision,
        release=release,
        bundle=str(bundle.path) if bundle else None,
        deploy_to=deploy_to(stack, name),
        keep_releases=app.keep_releases,
        environment={key: entry.value.get_secret_value() for key, entry in app.environment.items()},
        secure=tuple(key for key, entry in app.environment.items() if entry.secure),
        domains=app.domains,
        attributes=app.attributes,
        deploy=name in now.deploying,
        rollback_to=back,
    )
