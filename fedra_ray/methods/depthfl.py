"""DepthFL: prefixes of the model with a classifier at every depth of the fleet. ICLR 2023."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.allocation import Matrix, prefix
from fedra_ray.federation.state import ServerState
from fedra_ray.methods.method import Method, Problem

if TYPE_CHECKING:
    from torch import Tensor

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, Inputs, SubModel


class DepthFL(Method):
    """A client of depth d trains the first d layers and every exit up to d, each also from the others' predictions.

    Args:
        problem: The model and the fleet.
        distillation: Final weight of the exits' self-distillation; 0 for none. It grows as exp(-5 (1 - r/R)^2).
        ramp_rounds: R, after which the weight stays; r then counts rounds from 0, as in the FedRA authors' code, where
            it is 500 whatever the number of rounds. None takes that number, and r counts from 1.
        prediction: `ensemble` averages the probabilities of all exits, `last` takes the deepest.
        exits: After how many layers there is an exit; None for one at every distinct depth of the fleet.
        shared_head: A further head at the end of every client's own layers, whatever its depth, and of the model (an
            oddity of the FedRA authors' code, which has exits [4, 7, 10] besides).
        whole_model: Evaluate all layers of the model, by its shared head, even where no client is that deep and the
            layers beyond have never been trained (as the FedRA authors do). Otherwise the model ends with the deepest.
    """

    def __init__(
        self,
        problem: Problem,
        distillation: float = 1.0,
        ramp_rounds: int | None = None,
        prediction: str = "ensemble",
        exits: list[int] | None = None,
        shared_head: bool = False,
        whole_model: bool = False,
    ) -> None:
        super().__init__(problem)
        if prediction not in ("ensemble", "last"):
            raise SettingError("method.options.prediction", prediction, "must be one of ensemble, last")
        if not distillation >= 0:
            raise SettingError("method.options.distillation", distillation, "must be at least 0")
        if ramp_rounds is not None and not ramp_rounds >= 1:
            raise SettingError("method.options.ramp_rounds", ramp_rounds, "must be at least 1")
        if whole_model and not shared_head:
            raise SettingError("method.options.whole_model", True, "needs method.options.shared_head=true")
        self.distillation = distillation
        self.ramp_rounds = ramp_rounds
        self.whole_model = whole_model
        self.prediction = prediction
        self.shared_head = shared_head
        self.exits = {depth: f"exit_{depth}" for depth in sorted(set(problem.depths if exits is None else exits))}
        self._check_exits(exits)
        self.head_names = tuple(self.exits.values()) + ("head",) * shared_head

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix(depths, self.num_layers)

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        return tuple(name for _, name in self._exits_of(layers))

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        import torch
        from torch.nn import functional

        layers = local.task.layers
        scores = model.exit_logits(batch.inputs, layers, self._exits_of(layers))
        total = torch.stack([functional.cross_entropy(score, batch.labels) for score in scores]).sum()
        return total + self.weight(local.task.round) * _mutual_distillation(scores)

    def weight(self, number: int) -> float:
        """The weight of self-distillation in the round of this number, from 1."""
        progress = number / self.problem.rounds if self.ramp_rounds is None else (number - 1) / self.ramp_rounds
        return self.distillation * math.exp(-5 * (1 - min(1.0, progress)) ** 2)

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        return tuple(range(self.num_layers if self.whole_model else max(self.depths)))

    @property
    def evaluated_exits(self) -> list[tuple[int, str]]:
        exits = self._exits_of(self.evaluated_layers)
        return exits[-1:] if self.prediction == "last" else exits

    @property
    def combination(self) -> str:
        if self.prediction == "last":
            return "the scores of the exit"
        return "the logarithm of the mean over exits of their softmax probabilities"

    def predict(self, model: SubModel, inputs: Inputs) -> Tensor:
        import torch

        scores = model.exit_logits(inputs, self.evaluated_layers, self.evaluated_exits)
        if self.prediction == "last":
            return scores[-1]
        return torch.stack([score.log_softmax(dim=1) for score in scores]).logsumexp(dim=0) - math.log(len(scores))

    def _exits_of(self, layers: Sequence[int]) -> list[tuple[int, str]]:
        """Depth and head of every exit of a model with these layers, the deepest last."""
        exits = [(depth, name) for depth, name in self.exits.items() if depth <= len(layers)]
        return [*exits, (len(layers), "head")] if self.shared_head else exits

    def _check_exits(self, exits: list[int] | None) -> None:
        if any(not 1 <= depth <= self.num_layers for depth in self.exits):
            allowed = f"every exit must be between 1 and {self.num_layers}, the layers of the model"
            raise SettingError("method.options.exits", exits, allowed)
        if not self.shared_head and max(self.exits, default=0) < max(self.depths):
            allowed = (
                f"layers beyond the last exit would never be trained; add {max(self.depths)} or set shared_head=true"
            )
            raise SettingError("method.options.exits", exits, allowed)
        if not self.shared_head and min(self.exits, default=self.num_layers + 1) > min(self.depths):
            allowed = f"a client of depth {min(self.depths)} would have no exit; add one or set shared_head=true"
            raise SettingError("method.options.exits", exits, allowed)


def _mutual_distillation(scores: list[Tensor]) -> Tensor:
    """Every exit's mean KL divergence from the other exits' predictions, summed over exits."""
    from torch.nn import functional

    total = scores[0].new_zeros(())
    for student in range(len(scores)):
        for teacher in range(len(scores)):
            if teacher != student:
                target = scores[teacher].detach().log_softmax(dim=1)
                own = scores[student].log_softmax(dim=1)
                total = total + functional.kl_div(own, target, reduction="batchmean", log_target=True)
    return total / max(1, len(scores) - 1)
