"""FedRA: every client trains a random subset of the layers that fits it. arXiv 2311.11227, ECCV 2024."""

from collections.abc import Callable

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation import allocation
from fedra_ray.methods.method import Method

DRAWS: dict[str, Callable[[list[int], int, np.random.Generator], allocation.Matrix]] = {
    "uniform": allocation.uniform,
    "covering": allocation.covering,
    "balanced": allocation.balanced,
    "prefix": lambda depths, num_layers, rng: allocation.prefix(depths, num_layers),
}


class FedRA(Method):
    """Each client and round anew, a draw of as many layers as the client can hold.

    Args:
        num_layers: Layers of the model.
        depths: Depths of the fleet.
        draw: How: `uniform` without replacement, as in the paper; `covering`, the same given that every layer gets a
            holder; `balanced`, so that the layers' numbers of holders differ by at most one; or `prefix`, the first
            layers, which makes allocation the only difference to the depth-wise methods.
    """

    def __init__(self, num_layers: int, depths: list[int], draw: str = "uniform") -> None:
        super().__init__(num_layers, depths)
        if draw not in DRAWS:
            raise SettingError("allocation.draw", draw, f"one of {', '.join(DRAWS)}")
        self.draw = draw

    def allocate(self, depths: list[int], rng: np.random.Generator) -> allocation.Matrix:
        try:
            return DRAWS[self.draw](depths, self.num_layers, rng)
        except ValueError as error:
            raise SettingError(
                "allocation.draw", self.draw, f"{error}; add clients or depth, or set it to uniform"
            ) from error
