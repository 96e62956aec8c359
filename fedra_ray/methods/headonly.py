"""Head only: federated averaging of the classification head over the frozen full model; no LoRA is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from fedra_ray.model.submodel import SubModel


class HeadOnly(Method):
    """Nobody trains a layer; every client computes the features of the whole frozen model."""

    def allocate(self, depths: list[int], rng: np.random.Generator) -> Matrix:
        return prefix([0] * len(depths), self.num_layers)

    def loss(self, model: SubModel, images: Tensor, labels: Tensor, layers: Sequence[int], progress: float) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(self.predict(model, images), labels)
