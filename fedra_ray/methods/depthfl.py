"""DepthFL: prefixes of the model with a classifier at every depth of the fleet. ICLR 2023."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedra_ray.allocation import Matrix, prefix
from fedra_ray.errors import SettingError
from fedra_ray.methods.method import Method
from fedra_ray.submodel import SubModel


class DepthFL(Method):
    """A client of depth d trains the first d layers and every exit up to d, each also from the others' predictions.

    Args:
        num_layers: Layers of the model.
        depths: Depths of the fleet; each distinct one has an exit.
        distillation: Final weight of the exits' self-distillation; 0 for none. It grows as exp(-5 (1 - r/R)^2).
        prediction: `ensemble` averages the probabilities of all exits, `last` takes the deepest.
    """

    def __init__(
        self, num_layers: int, depths: list[int], distillation: float = 1.0, prediction: str = "ensemble"
    ) -> None:
        super().__init__(num_layers, depths)
        if prediction not in ("ensemble", "last"):
            raise SettingError("method.options.prediction", prediction, "must be one of ensemble, last")
        if not distillation >= 0:
            raise SettingError("method.options.distillation", distillation, "must be at least 0")
        self.distillation = distillation
        self.prediction = prediction
        self.exits = {depth: f"exit_{depth}" for depth in sorted(set(depths))}
        self.head_names = tuple(self.exits.values())

    def allocate(self, depths: list[int], rng: np.random.Generator) -> Matrix:
        return prefix(depths, self.num_layers)

    def held_heads(self, layers: Sequence[int]) -> tuple[str, ...]:
        return tuple(name for depth, name in self.exits.items() if depth <= len(layers))

    def loss(self, model: SubModel, images: Tensor, labels: Tensor, layers: Sequence[int], progress: float) -> Tensor:
        scores = model.exit_logits(images, layers, self.exits)
        total = torch.stack([functional.cross_entropy(score, labels) for score in scores]).sum()
        weight = self.distillation * math.exp(-5 * (1 - progress) ** 2)
        return total + weight * _mutual_distillation(scores)

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        return tuple(range(max(self.depths)))

    def predict(self, model: SubModel, images: Tensor) -> Tensor:
        scores = model.exit_logits(images, self.evaluated_layers, self.exits)
        if self.prediction == "last":
            return scores[-1]
        return torch.stack([score.log_softmax(dim=1) for score in scores]).logsumexp(dim=0) - math.log(len(scores))


def _mutual_distillation(scores: list[Tensor]) -> Tensor:
    """Every exit's mean KL divergence from the other exits' predictions, summed over exits."""
    total = scores[0].new_zeros(())
    for student in range(len(scores)):
        for teacher in range(len(scores)):
            if teacher != student:
                target = scores[teacher].detach().log_softmax(dim=1)
                own = scores[student].log_softmax(dim=1)
                total = total + functional.kl_div(own, target, reduction="batchmean", log_target=True)
    return total / max(1, len(scores) - 1)
