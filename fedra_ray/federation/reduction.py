"""How the updates of a round are put together, whatever the order in which they arrive."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np

from fedra_ray.federation.aggregation import MaskedSum, unusable
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import Array, Arrays, Vector

K = TypeVar("K")


class Reduction(Protocol):
    """What a round's updates add up to. Its result must not depend on their order, nor on how they are grouped.

    Actors make one for the clients that they train, and the server merges these. A method that needs something other
    than masked sums (factors one by one, exact sums of statistics) returns its own from `Method.reduction`.
    """

    def add(self, update: ClientUpdate) -> None:
        """Take in one client's update.

        Raises:
            ValueError: if it must not be averaged; the message says why, and nothing was taken in.
        """

    def merge(self, other: Self) -> None:
        """Take in all updates of another reduction."""


class MaskedSums:
    """Exact sums over the clients that sent a segment: of the trained values by group, and of every extra by name.

    Extras lie as the values do: the segments that the client sends, one after another. They count equally, whatever the
    weight of the update.

    Args:
        layout: How values lie in the flat vector.

    Attributes:
        layout: How the values lie.
        groups: Weighted sum of the values of each group (`ClientTask.group`).
        extra: Sum of each extra.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.groups: dict[int, MaskedSum] = {}
        self.extra: dict[str, MaskedSum] = {}

    def add(self, update: ClientUpdate) -> None:
        """Take in one client's update.

        Raises:
            ValueError: if an extra is not finite, or too large to be summed exactly.
        """
        task = update.task
        for name, values in update.extra.items():
            problem = unusable(values, task.total_weight)
            if problem is not None:
                raise ValueError(f"{name}: {problem}")
        held = self.layout.held(task.layers, task.sent)
        self._in(self.groups, task.group).add(held, update.values, task.weight)
        for name, values in update.extra.items():
            self._in(self.extra, name).add(held, values)

    def merge(self, other: "MaskedSums") -> None:
        """Add the sums of another one to these."""
        for group, total in other.groups.items():
            self._in(self.groups, group).merge(total)
        for name, total in other.extra.items():
            self._in(self.extra, name).merge(total)

    def total(self) -> MaskedSum:
        """The sum of the values over all groups."""
        result = MaskedSum(self.layout.segments)
        for part in self.groups.values():
            result.merge(part)
        return result

    def covered(self) -> Sequence[slice]:
        """The segments that at least one client sent."""
        weights = [part.weights for part in self.groups.values()]
        return [self.layout.segments[index] for index in np.flatnonzero(np.sum(weights, axis=0))]

    def _in(self, sums: dict[K, MaskedSum], key: K) -> MaskedSum:
        return sums.setdefault(key, MaskedSum(self.layout.segments))


@dataclass(frozen=True)
class Contribution:
    """What a server knows of one client's update.

    Attributes:
        task: What the client was asked to do.
        values: The segments that it sent, one after another; empty where they are not collected.
        statistics: Its statistics, by name.
    """

    task: ClientTask
    values: Vector
    statistics: Arrays


class Collected(MaskedSums):
    """Masked sums, and beside them what clients sent one by one: for servers that do more than add.

    Takes memory in the number of clients of a round. Contributions are read in the order of the clients, so that sums
    of them have the same bits whatever the order of arrival.

    Args:
        layout: How the values lie.
        statistics: Names of the extras that are arrays of any shape and are kept one by one.
        values: Whether the values are kept too.
    """

    def __init__(self, layout: Layout, statistics: Sequence[str] = (), values: bool = False) -> None:
        super().__init__(layout)
        self._statistics = tuple(statistics)
        self._values = values
        self._contributions: dict[int, Contribution] = {}

    def add(self, update: ClientUpdate) -> None:
        """Take in one client's update.

        Raises:
            ValueError: if an extra or a statistic is not finite.
        """
        statistics = {name: update.extra[name] for name in self._statistics}
        for name, value in statistics.items():
            if not np.isfinite(value).all():
                raise ValueError(f"{name}: not finite")
        extra = {name: value for name, value in update.extra.items() if name not in statistics}
        super().add(replace(update, extra=extra))
        values = update.values if self._values else update.values[:0]
        self._contributions[update.task.client] = Contribution(update.task, values, statistics)

    def merge(self, other: "MaskedSums") -> None:
        """Take in what another one has collected."""
        super().merge(other)
        if isinstance(other, Collected):
            self._contributions |= other._contributions

    @property
    def contributions(self) -> list[Contribution]:
        """What every client sent, in the order of the clients."""
        return [self._contributions[client] for client in sorted(self._contributions)]

    def sum(self, name: str) -> Array:
        """The float64 sum of a statistic over all clients, added in their order."""
        values = [np.asarray(one.statistics[name], dtype=np.float64) for one in self.contributions]
        return np.asarray(np.sum(values, axis=0))

    def holders(self, layer: int) -> list[tuple[ClientTask, Vector]]:
        """Who sent a layer, in the order of the clients, and its values."""
        return [
            (one.task, self.layout.part(one.values, self.layout.held(one.task.layers, one.task.sent), layer))
            for one in self.contributions
            if layer in one.task.layers
        ]
