"""Exclusive: federated averaging of the full model, by those clients alone that can hold it."""

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.methods.method import Method


class Exclusive(Method):
    """Clients with fewer layers than the model never take part."""

    def __init__(self, num_layers: int, depths: list[int]) -> None:
        super().__init__(num_layers, depths)
        if max(depths) < num_layers:
            raise SettingError(
                "fleet.depths", depths, f"Exclusive needs a client that can hold all {num_layers} layers"
            )

    def eligible(self, depth: int) -> bool:
        return depth >= self.num_layers

    def allocate(self, depths: list[int], rng: np.random.Generator) -> Matrix:
        return prefix(depths, self.num_layers)
