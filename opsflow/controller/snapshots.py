"""What recipes see: the whole stack as it is at this moment, for one instance and one event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opsflow.controller.neighbours import Neighbours
from opsflow.controller.secrets import app_secrets
from opsflow.model.attributes import Attributes, merge_all
from opsflow.model.secrecy import secret_values
from opsflow.model.snapshot import AppSnapshot, EventSnapshot, NodeSnapshot
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
    neighbours: Neighbours,
) -> NodeSnapshot:
    """The node of an instance, declared or not."""
    member, state = stack.members.get(name), observed.instances.get(name)
    layers = state.layers if state else member.layers if member else ()
    known = tuple(layer for layer in stack.layers if layer in layers)
    merged, everyone = attributes(stack, name, known, over), neighbours.of(stack, observed)
    own = NodeSnapshot(
        stack=stack.name,
        name=name,
        layers=known,
        members=(),
        layer_names=tuple(stack.layers),
        attributes=merged,
        apps=tuple(_apps(stack, state, known, apps)),
        packages=tuple(dict.fromkeys(package for layer in known for package in stack.layers[layer].packages)),
        event=event,
        secrets=tuple(dict.fromkeys((*_secrets(stack, known, merged), *everyone.secrets))),
    )
    # Copied in, not validated: the nodes of all instances share one tuple, and what depends on it is made once.
    return own.model_copy(update={"members": everyone.members})


def _secrets(stack: Stack, layers: tuple[str, ...], merged: Attributes) -> Iterator[str]:
    """What is secret of all that only the recipes of an instance of these layers see."""
    for app in stack.apps_of(layers):
        yield from app_secrets(stack.apps[app])
    yield from secret_values(merged)


def attributes(stack: Stack, name: str, layers: Sequence[str], over: Attributes) -> dict[str, object]:
    """The merged attributes; an instance that left the file has those of the stack and its layers."""
    if name in stack.members:
        return stack.attributes_of(name, over)
    return merge_all([stack.attributes, *(stack.layers[layer].attributes for layer in layers), over])


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
