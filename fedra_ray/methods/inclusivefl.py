"""InclusiveFL: a client of depth d trains the first d layers. KDD 2022, arXiv 2202.08036."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.methods.method import Method, Problem


class InclusiveFL(Method):
    """Prefix allocation, per-layer mean over holders, and momentum distillation from deeper to shallower clients.

    Distillation: the last layer of a shallower group takes the share `momentum` of its update from the mean update of
    the layers that the next deeper group has beyond it.

    Args:
        problem: The model and the fleet.
        momentum: Share in [0, 1] of the deeper group; 0 only averages prefixes.
    """

    def __init__(self, problem: Problem, momentum: float = 0.2) -> None:
        super().__init__(problem)
        if not 0 <= momentum <= 1:
            raise SettingError("method.options.momentum", momentum, "must be between 0 and 1")
        self.momentum = momentum
        self.averages_factors = momentum == 0

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix(depths, self.num_layers)

    def group(self, layers: Sequence[int]) -> int:
        return len(layers)

    def merge(self, state: ServerState, total: MaskedSums) -> ServerState:
        if self.momentum == 0:
            return super().merge(state, total)
        return ServerState(self._distilled(state.values, total.groups), state.arrays)

    def _distilled(self, previous: Vector, groups: dict[int, MaskedSum]) -> Vector:
        means = {depth: groups[depth].mean(previous).astype(np.float64) for depth in sorted(groups)}
        segments = groups[min(groups)].segments
        for shallow, deep in pairwise(sorted(groups)):
            extra = [means[deep][segments[layer]] - previous[segments[layer]] for layer in range(shallow, deep)]
            last = segments[shallow - 1]
            own = means[shallow][last] - previous[last]
            means[shallow][last] = previous[last] + (1 - self.momentum) * own + self.momentum * np.mean(extra, axis=0)
        return _weighted_mean(previous, means, groups)


def _weighted_mean(previous: Vector, means: dict[int, np.ndarray], groups: dict[int, MaskedSum]) -> Vector:
    """Mean over the groups, each weighted by its holders, in the fixed order of depth."""
    result = previous.copy()
    for index, segment in enumerate(groups[min(groups)].segments):
        weights = {depth: groups[depth].weights[index] for depth in means}
        total = sum(weights.values())
        if total:
            result[segment] = sum(weights[depth] * means[depth][segment] for depth in means) / total
    return result
