"""Small random rounds, and what a method makes of them through the ordinary reduction and merge."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.plugins import instantiate
from fedra_ray.federation.allocation import uniform
from fedra_ray.federation.factors import Factors, split
from fedra_ray.federation.layout import Entry, Layout, changed_weights
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.federation.traffic import Traffic
from fedra_ray.methods.method import Method

LAYERS, RANK, INPUTS, OUTPUTS = 3, 4, 6, 5
HEAD = (Entry("heads.head.weight", (2, OUTPUTS)), Entry("heads.head.bias", (2,)))


@dataclass(frozen=True)
class Round:
    """A round of a method, before and after.

    Attributes:
        layout: Of one target per layer.
        before: The server's state before the round.
        after: The same after it.
        updates: What the clients sent, in the order of the clients.
    """

    layout: Layout
    before: ServerState
    after: ServerState
    updates: list[ClientUpdate]

    def holders(self, layer: int) -> tuple[list[Factors], NDArray[np.float64]]:
        """The factors of a layer's holders, in float64, and their shares, which sum to 1."""
        own = [update for update in self.updates if layer in update.task.layers]
        factors = [split(self.layout.layers[layer], self._part(update, layer))[0] for update in own]
        weights = np.array([update.task.weight for update in own], dtype=np.float64)
        return factors, weights / weights.sum()

    def factors(self, layer: int, state: ServerState | None = None) -> Factors:
        """The global factors of a layer, after the round unless another state is given."""
        values = (state or self.after).values
        return split(self.layout.layers[layer], values[self.layout.segments[layer]])[0]

    def weight(self, layer: int) -> NDArray[np.float64]:
        """What the adapter adds to a layer's weight (outputs, inputs) after the round, without alpha / rank."""
        a, b = self.factors(layer)
        result: NDArray[np.float64] = b @ a
        if self.layout.extra_names:
            (index,) = self.layout.held((), (changed_weights(layer),))
            result = result + self.after.values[self.layout.segments[index]].reshape(OUTPUTS, INPUTS)
        return result

    def _part(self, update: ClientUpdate, layer: int) -> Vector:
        return self.layout.part(update.values, self.layout.held(update.task.layers, update.task.sent), layer)


def layout_for(method: Method) -> Layout:
    """One target per layer, a head, and changes of the weights where the method makes them."""
    layers = tuple(
        (Entry(f"blocks.{i}.x.lora_A", (RANK, INPUTS)), Entry(f"blocks.{i}.x.lora_B", (OUTPUTS, RANK)))
        for i in range(LAYERS)
    )
    if not method.changes_weights:
        return Layout(layers, (HEAD,), ("head",))
    changes = tuple((Entry(f"blocks.{i}.x.change", (OUTPUTS, INPUTS)),) for i in range(LAYERS))
    return Layout(layers, (HEAD,), ("head",), changes, tuple(changed_weights(i) for i in range(LAYERS)))


def play(method: Method, rng: np.random.Generator, whole: bool = False, alike: bool = False) -> Round:
    """A round of two to five clients with random updates and weights.

    Args:
        method: What is tried.
        rng: The only source of randomness.
        whole: Every client holds all layers; otherwise each draws some, so that a layer has any number of holders.
        alike: All clients send the same values.
    """
    layout = layout_for(method)
    clients = int(rng.integers(2, 6))
    depths = [LAYERS if whole else int(depth) for depth in rng.integers(1, LAYERS + 1, clients)]
    matrix = uniform(depths, LAYERS, rng)
    weights = rng.integers(1, 9, clients)
    before = method.init_state(layout, int(rng.integers(2**31)))
    common = rng.standard_normal(layout.size).astype(np.float32)
    updates = []
    for client, (row, weight) in enumerate(zip(matrix, weights, strict=True)):
        layers = tuple(np.flatnonzero(row).tolist())
        task = ClientTask(1, client, layers, ("head",), weight=int(weight), total_weight=int(weights.sum()))
        values = common if alike else rng.standard_normal(layout.size).astype(np.float32)
        ranked = _cut(values, layout, method.ranks(layers))
        packed = layout.pack(ranked, layout.held(layers, task.sent))
        updates.append(ClientUpdate(task, Traffic(packed.nbytes, packed.nbytes), 1, 1, 0.0, 0.0, values=packed))
    total = method.reduction(layout)
    for update in rng.permutation(np.array(updates, dtype=object)):
        total.add(update)
    return Round(layout, before, method.merge(before, total), updates)


def _cut(values: Vector, layout: Layout, ranks: Mapping[int, int]) -> Vector:
    """A copy of values in which factors beyond a client's ranks are zero."""
    result = values.copy()
    for layer, rank in ranks.items():
        for a, b in layout.factors(layer):
            result[a].reshape(RANK, INPUTS)[rank:] = 0
            result[b].reshape(OUTPUTS, RANK)[:, rank:] = 0
    return result


def around(inner: Method, name: str, **options: object) -> Method:
    """A shipped LoRA aggregation or server optimiser around a method, by its class path below fedra_ray.methods."""
    return instantiate(f"fedra_ray.methods.{name}", "method", Method, {"inner": inner, **options})
