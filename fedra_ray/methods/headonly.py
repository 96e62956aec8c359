"""Head only: federated averaging of the classification head over the frozen full model; no LoRA is trained."""

from collections.abc import Sequence

import numpy as np

from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method


class HeadOnly(Method):
    """No client trains a layer; every client computes the features of the whole frozen model."""

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([0] * len(depths), self.num_layers)

    def blocks(self, layers: Sequence[int]) -> tuple[int, ...]:
        return self.evaluated_layers
