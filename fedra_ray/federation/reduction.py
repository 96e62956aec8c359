"""How the updates of a round are put together, whatever the order in which they arrive."""

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import numpy as np

from fedra_ray.federation.aggregation import MaskedSum, unusable
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ClientUpdate

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
        groups: Weighted sum of the values of each group (`ClientTask.group`).
        extra: Sum of each extra.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
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
        held = self._layout.held(task.layers, task.sent)
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
        result = MaskedSum(self._layout.segments)
        for part in self.groups.values():
            result.merge(part)
        return result

    def covered(self) -> Sequence[slice]:
        """The segments that at least one client sent."""
        weights = [part.weights for part in self.groups.values()]
        return [self._layout.segments[index] for index in np.flatnonzero(np.sum(weights, axis=0))]

    def _in(self, sums: dict[K, MaskedSum], key: K) -> MaskedSum:
        return sums.setdefault(key, MaskedSum(self._layout.segments))
