"""What becomes of the LoRA factors that several clients trained for one layer, where their mean is not wanted."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors, Floats
from fedra_ray.federation.layout import Layout, changed_weights
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.reduction import Collected
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper


@dataclass(frozen=True)
class Held:
    """What the holders of a layer made of one of its targets.

    Attributes:
        previous: The global factors before the round, A (rank, inputs) and B (outputs, rank).
        factors: Those of each holder, in the order of the clients.
        shares: The holders' weights, which sum to 1.
        ranks: At how many ranks each of them trained.
    """

    previous: Factors
    factors: tuple[Factors, ...]
    shares: tuple[float, ...]
    ranks: tuple[int, ...]


class LoraAggregation(Wrapper):
    """Puts the factors of a layer's holders together by `combine`; heads and extras are averaged as before.

    A layer without a holder keeps its factors. With `changes_weights` the part of the holders' mean product that the
    combined factors lack is added to the weight. All is computed in float64.

    Args:
        inner: The wrapped method, which must average factors itself.

    Raises:
        SettingError: if the wrapped method has another aggregation of its own.
    """

    collects_values = True

    def __init__(self, inner: Method) -> None:
        super().__init__(inner)
        if not inner.averages_factors:
            name = type(self).__name__
            raise SettingError("lora_aggregation", name, "the method aggregates in a way of its own; set it to fedit")
        self.averages_factors = False

    @abstractmethod
    def combine(self, held: Held) -> Factors:
        """The next factors of one target of a layer."""

    def merge(self, state: ServerState, total: Any) -> ServerState:
        merged = self.inner.merge(state, total)
        collected: Collected = total
        layout = collected.layout
        values = merged.values.copy()
        for layer, segment in enumerate(layout.segments[: self.num_layers]):
            holders = collected.holders(layer)
            if holders:
                targets = list(self._targets(layout, layer, state.values[segment], holders))
                combined = [self.combine(target) for target in targets]
                values[segment] = factors.join(combined)
                if self.changes_weights:
                    _add(values, layout, layer, [_lost(*pair) for pair in zip(targets, combined, strict=True)])
        return ServerState(values, merged.arrays)

    def _targets(
        self, layout: Layout, layer: int, previous: Vector, holders: Sequence[tuple[ClientTask, Vector]]
    ) -> Iterator[Held]:
        """What became of every target of a layer."""
        entries = layout.layers[layer]
        total = sum(task.weight for task, _ in holders)
        shares = tuple(task.weight / total for task, _ in holders)
        ranks = tuple(self.ranks(task.layers).get(layer, entries[0].shape[0]) for task, _ in holders)
        own = zip(*(factors.split(entries, values) for _, values in holders), strict=True)
        for before, after in zip(factors.split(entries, previous), own, strict=True):
            yield Held(before, after, shares, ranks)


def _lost(held: Held, combined: Factors) -> Floats:
    """What the combined factors' product (outputs, inputs) lacks of the holders' mean product."""
    whole = factors.stack(held.factors, held.shares)
    return whole.b @ whole.a - combined.b @ combined.a


def _add(values: Vector, layout: Layout, layer: int, changes: Sequence[Floats]) -> None:
    """Add to the changes of a layer's weights, in place."""
    (index,) = layout.held((), (changed_weights(layer),))
    values[layout.segments[index]] += np.concatenate([change.reshape(-1) for change in changes]).astype(np.float32)
