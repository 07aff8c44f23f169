"""Setup again takes an instance out of service: those that serve are set up in batches, so that each layer goes on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from opsflow.model.state import InstanceStatus, StackState
from opsflow.planning.models import LEAVES, Step, StepKind

Chains = Mapping[str, Sequence[Step]]
"""Instance -> what is done to it, in order, without configure."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Who is online when a plan begins and stays: layer -> instances."""

    layers: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, observed: StackState, chains: Chains) -> Serving:
        """Who serves in ``observed`` and is not taken away by these steps."""
        layers: dict[str, tuple[str, ...]] = {}
        for name, state in observed.instances.items():
            if state.status is InstanceStatus.ONLINE and not _leaves(chains.get(name, ())):
                layers |= {layer: (*layers.get(layer, ()), name) for layer in state.layers}
        return cls(layers)

    def limit(self, layer: str) -> int:
        """How many of a layer may be out of service at once: half of them, at least one."""
        return max(1, len(self.layers.get(layer, ())) // 2)

    def layers_of(self, name: str) -> Iterator[str]:
        """The layers that an instance serves in."""
        return (layer for layer, names in self.layers.items() if name in names)

    def crowded(self, name: str, out: Collection[str]) -> str | None:
        """A layer in which too many are out of service already for ``name`` to go too; None when it may."""
        full = (layer for layer in self.layers_of(name) if self._out(layer, out) >= self.limit(layer))
        return next(full, None)

    def _out(self, layer: str, out: Collection[str]) -> int:
        return sum(name in out for name in self.layers[layer])


def rolling(observed: StackState, chains: Chains, layers: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """The instances that serve and are set up again, in batches; none when they may go all at once.

    One that is alone in its layer waits for the second batch when another of the layer comes online in the first.

    Args:
        observed: the stack as it is.
        chains: what is to be done.
        layers: the layers of the declared instances.
    """
    serving = Serving.of(observed, chains)
    coming = {layer for name in _coming(observed, chains) for layer in layers.get(name, ())}
    batches: list[list[str]] = [[]]
    for name in _again(serving, chains):
        alone = any(len(serving.layers[layer]) == 1 and layer in coming for layer in serving.layers_of(name))
        number = next((n for n, batch in enumerate(batches) if n >= alone and not serving.crowded(name, batch)), None)
        if number is None:
            batches.append([name])
        else:
            batches[number].append(name)
    return tuple(map(tuple, batches)) if len(batches) > 1 else ()


def sets_up(steps: Iterable[Step]) -> bool:
    """Whether setup is one of the steps."""
    return any(step.kind is StepKind.SETUP for step in steps)


def _again(serving: Serving, chains: Chains) -> Iterator[str]:
    there = {name for names in serving.layers.values() for name in names}
    return (name for name, steps in chains.items() if name in there and sets_up(steps))


def _coming(observed: StackState, chains: Chains) -> Iterator[str]:
    for name, steps in chains.items():
        state = observed.instances.get(name)
        if not _leaves(steps) and (state is None or state.status is not InstanceStatus.ONLINE):
            yield name


def _leaves(steps: Sequence[Step]) -> bool:
    return bool(steps) and steps[-1].kind in LEAVES
