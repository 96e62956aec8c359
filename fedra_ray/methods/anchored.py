"""Anchored: every client trains the first layer, and of the others a sample with short gaps.

The outer layers of a transformer differ from its middle, whose layers are nearly exchangeable (Sun et al. 2024, arXiv
2407.09298), and a sub-model without its first block reads inputs that no block was trained for.
"""

import numpy as np

from fedra_ray.federation.allocation import Matrix, anchored
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method, Problem


class Anchored(Method):
    """A client of depth d trains the anchors and a systematic sample of the other layers.

    Args:
        problem: The model and the fleet.
        last: Whether the last layer is an anchor too, beside the first.
    """

    def __init__(self, problem: Problem, last: bool = False) -> None:
        super().__init__(problem)
        self.anchors = (0, problem.num_layers - 1) if last and problem.num_layers > 1 else (0,)

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return anchored(depths, self.num_layers, rng, self.anchors)
