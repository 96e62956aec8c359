"""A global adapter and what it became at every client of a round, before anything is averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.runs.aggregates import factors_at, places
from analysis.runs.factors import AGGREGATIONS, Array, Factors
from analysis.runs.replay import Replay
from fedra_ray.federation.messages import ClientUpdate
from fedra_ray.federation.state import Vector


@dataclass(frozen=True)
class Held:
    """The factors of a place's holders.

    Attributes:
        factors: The factors of each holder.
        shares: Shares of the holders in the mean (holders,); the sum is 1.
    """

    factors: Sequence[Factors]
    shares: Array

    def mean_output(self, inputs: Array) -> Array:
        """The mean (rows, outputs) of the holders' outputs B A x for inputs x (rows, inputs)."""
        return sum(share * own.output(inputs) for own, share in zip(self.factors, self.shares, strict=True))

    @cached_property
    def aggregated(self) -> dict[str, Factors]:
        """The server's factors, by aggregation."""
        return {name: aggregate(self.factors, self.shares) for name, aggregate in AGGREGATIONS.items()}


@dataclass(frozen=True)
class Tuned:
    """A global adapter and what it became at each client.

    Attributes:
        replay: The run.
        values: The global adapter, the full flat vector.
        updates: Updates of the clients.
        clients: The full flat vector of each client: the global one with its trained segments in place.
        shares: Share of each client in an average over all (clients,); the sum is 1.
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
            own = values.copy()
            start = 0
            for index in replay.layout.held(update.task.layers, update.task.sent):
                segment = replay.layout.segments[index]
                own[segment] = update.values[start : start + segment.stop - segment.start]
                start += segment.stop - segment.start
            clients.append(own)
        weights = np.array([update.task.weight for update in updates], dtype=np.float64)
        return cls(replay, values, updates, clients, weights / weights.sum())

    def holders(self, layer: int) -> list[int]:
        """Positions of the clients that hold a layer (from 0)."""
        return [position for position, update in enumerate(self.updates) if layer in update.task.layers]

    @cached_property
    def held(self) -> dict[str, Held]:
        """The factors of the holders, by place; places that no client holds are left out."""
        by_place = {}
        for layer in range(len(self.replay.layout.layers)):
            holders = self.holders(layer)
            for place in places(self.replay, layer) if holders else ():
                factors = [factors_at(self.replay, self.clients[position], place) for position in holders]
                by_place[place] = Held(factors, self.shares[holders] / self.shares[holders].sum())
        return by_place

    def mean_heads(self) -> Vector:
        """The global adapter with the mean of the clients' heads."""
        values = self.values.copy()
        for index, segment in enumerate(self.replay.layout.segments):
            if self.replay.layout.is_head(index):
                values[segment] = np.tensordot(self.shares, [own[segment] for own in self.clients], axes=1)
        return values
