"""AllSmall: federated averaging of the model that the smallest client can hold, evaluated at that depth."""

import numpy as np

from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


class AllSmall(Method):
    """Every client holds the first min(depths) layers; the others do not exist."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([min(self.depths)] * len(depths), self.num_layers)

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        return tuple(range(min(self.depths)))
