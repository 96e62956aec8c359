"""Selective layers: every client trains the layers with the largest gradients. Sun et al. 2024, arXiv 2408.15600."""

import numpy as np

from fedra_ray.federation.allocation import Matrix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.gradient_norms import GradientNorms


class Selective(GradientNorms):
    """A client of depth d trains the d layers of largest gradient norm; those that nobody has held yet come first.

    The paper's clients choose by gradients of their own data and make their choices consistent; here all choose by
    the cohort's, which is the consistent end, and no client computes gradients of layers that it does not train.
    """

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        squares = self.squares(state)
        matrix = np.zeros((len(depths), self.num_layers), dtype=bool)
        for row, depth in zip(matrix, depths, strict=True):
            row[np.lexsort((rng.random(self.num_layers), -squares))[:depth]] = True
        return matrix
