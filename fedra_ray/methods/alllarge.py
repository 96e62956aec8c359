"""AllLarge: federated averaging of the full model on every client, the unconstrained upper bound."""

import numpy as np

from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


class AllLarge(Method):
    """Every client holds every layer."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([self.num_layers] * len(depths), self.num_layers)
