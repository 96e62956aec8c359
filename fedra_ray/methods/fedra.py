"""FedRA: every client trains a random subset of the layers that fits it. arXiv 2311.11227, ECCV 2024."""

import numpy as np

from fedra_ray import allocation
from fedra_ray.errors import SettingError
from fedra_ray.methods.method import Method


class FedRA(Method):
    """Uniform allocation without replacement, each client and round anew.

    Args:
        num_layers: Layers of the model.
        depths: Depths of the fleet.
        cover: Draw only matrices that give every layer a holder.
    """

    def __init__(self, num_layers: int, depths: list[int], cover: bool = False) -> None:
        super().__init__(num_layers, depths)
        self.cover = cover

    def allocate(self, depths: list[int], rng: np.random.Generator) -> allocation.Matrix:
        if not self.cover:
            return allocation.uniform(depths, self.num_layers, rng)
        try:
            return allocation.covering(depths, self.num_layers, rng)
        except ValueError as error:
            raise SettingError(
                "allocation.cover", True, f"{error}; add clients or depth, or set it to false"
            ) from error
