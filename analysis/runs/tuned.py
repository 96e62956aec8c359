"""A global adapter and what it became at every client of a round, before anything is averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.runs.aggregates import factors_at, places
from analysis.runs.factors import AGGREGATIONS, Array, Factors
from analysis.runs.replay import Replay, Vector
from fedra_ray.federation.messages import ClientUpdate


@dataclass(frozen=True)
class Held:
    """The factors of a place's holders.

    Attributes:
        factors: Of each holder.
        shares: Of the holders (holders,) in the mean; the sum is 1.
    """

    factors: Sequence[Factors]
    shares: Array

    @cached_property
    def aggregated(self) -> dict[str, Factors]:
        """What the server makes of them, by aggregation."""
        return {name: aggregate(self.factors, self.shares) for name, aggregate in AGGREGATIONS.items()}


@dataclass(frozen=True)
class Tuned:
    """A global adapter and what it became at each client.

    Attributes:
        replay: The run.
        values: The global adapter, flat.
        updates: Of the clients.
        clients: The full vector of each: the global one with its trained segments in place.
        shares: Of each client (clients,) in an average over all; the sum is 1.
    """

    replay: Replay
    values: Vector
    updates: Sequence[ClientUpdate]
    clients: Sequence[Vector]
    shares: Array

    @classmethod
    def of(cls, replay: Replay, values: Vector, updates: Sequence[ClientUpdate]) -> "Tuned":
        """Put every update in its place."""
        clients = []
        for update in updates:
            mine, start = values.copy(), 0
            for index in replay.layout.held(update.task.layers, update.task.sent):
                segment = replay.layout.segments[index]
                mine[segment] = update.values[start : start + segment.stop - segment.start]
                start += segment.stop - segment.start
            clients.append(mine)
        weights = np.array([update.task.weight for update in updates], dtype=np.float64)
        return cls(replay, values, updates, clients, weights / weights.sum())

    def holders(self, layer: int) -> list[int]:
        """Positions of the clients that hold a layer (from 0)."""
        return [position for position, update in enumerate(self.updates) if layer in update.task.layers]

    @cached_property
    def held(self) -> dict[str, Held]:
        """What clients hold at every place that any of them holds."""
        found = {}
        for layer in range(len(self.replay.layout.layers)):
            holders = self.holders(layer)
            for place in places(self.replay, layer) if holders else ():
                factors = [factors_at(self.replay, self.clients[each], place) for each in holders]
                found[place] = Held(factors, self.shares[holders] / self.shares[holders].sum())
        return found

    def mean_heads(self) -> Vector:
        """The global adapter with the mean of the clients' heads."""
        found = self.values.copy()
        for index, segment in enumerate(self.replay.layout.segments):
            if self.replay.layout.is_head(index):
                found[segment] = np.tensordot(self.shares, [values[segment] for values in self.clients], axes=1)
        return found
