"""Suffix tuning: every client trains the last layers, as many as it can hold.

The allocation of LEGEND (arXiv 2412.20004), FedQuad (arXiv 2506.01001) and HierFedLoRA (arXiv 2503.21213). They run the
blocks before these frozen, which is `submodel=frozen` or `streamed`; without them the last blocks read the embedding.
"""

import numpy as np

from fedra_ray.federation.allocation import Matrix, suffix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


class Suffix(Method):
    """A client of depth d trains layers L - d to L - 1, so that gradients stop at the first of them."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return suffix(depths, self.num_layers)
