"""Window: every client trains consecutive layers at a random place, anew each round."""

import numpy as np

from fedra_ray.federation.allocation import Matrix, window
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


class Window(Method):
    """A client of depth d trains layers i to i + d - 1, with i uniform in 0, ..., L - d."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return window(depths, self.num_layers, rng)
