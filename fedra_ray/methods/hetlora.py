"""HetLoRA: ranks that differ by client and shrink, and averages weighted by norm.

Cho et al., EMNLP 2024, arXiv 2401.06432.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation import factors
from fedra_ray.federation.factors import Factors
from fedra_ray.federation.state import Arrays
from fedra_ray.methods.lora_aggregation import Held, LoraAggregation
from fedra_ray.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, SubModel

PRUNED, TAIL = "hetlora.pruned", "hetlora.tail"


class HetLora(LoraAggregation):
    """Factors are padded with zeros and averaged with weights in proportion to p_k ||B_k A_k||_F.

    A client of rank r (`lora.ranks`) adds decay * sum ||A[g r:]||_F ||B[:, g r:]||_F over the targets to its loss,
    where g is `pruning`. If that sum is smaller after its round than before, its rank is g r, rounded up, from then on.

    Args:
        inner: The wrapped method.
        pruning: Share g of its ranks that a client keeps when it prunes, in (0, 1]; 1 for no pruning.
        decay: Weight of the term that makes the last ranks small, at least 0.
    """

    keeps_client_state = True

    def __init__(self, inner: Method, pruning: float = 0.99, decay: float = 1e-3) -> None:
        super().__init__(inner)
        if not 0 < pruning <= 1:
            raise SettingError("lora_aggregation.options.pruning", pruning, "must be above 0 and at most 1")
        if not decay >= 0:
            raise SettingError("lora_aggregation.options.decay", decay, "must be at least 0")
        self.pruning, self.decay = pruning, decay

    def begin(self, model: SubModel, local: LocalRound) -> None:
        model.cut(self._ranks(model, local))
        self.inner.begin(model, local)
        local.scratch[TAIL] = self._tail(model, local).item()

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        return self.inner.loss(model, batch, local) + self.decay * self._tail(model, local)

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        if self._tail(model, local).item() < local.scratch[TAIL]:
            local.kept[PRUNED] = np.array(int(local.kept.get(PRUNED, 0)) + 1)
            model.cut(self._ranks(model, local))
        return self.inner.finish(model, local)

    def combine(self, held: Held) -> Factors:
        weights = [share * factors.norm(own) for share, own in zip(held.shares, held.factors, strict=True)]
        total = sum(weights)
        return factors.mean(held.factors, [weight / total for weight in weights] if total > 0 else held.shares)

    def _ranks(self, model: SubModel, local: LocalRound) -> Mapping[int, int]:
        """The client's present rank of every layer that it trains."""
        assigned = self.ranks(local.task.layers)
        ranks = {layer: assigned.get(layer, len(model.factors(layer)[0][0])) for layer in local.task.layers}
        for _ in range(int(local.kept.get(PRUNED, 0))):
            ranks = {layer: self._left(rank) for layer, rank in ranks.items()}
        return ranks

    def _left(self, rank: int) -> int:
        """What pruning once leaves of a rank."""
        return max(1, math.ceil(self.pruning * rank))

    def _tail(self, model: SubModel, local: LocalRound) -> Tensor:
        """What would be pruned next: the sum over the targets of ||A[g r:]||_F ||B[:, g r:]||_F."""
        import torch

        norm = torch.linalg.matrix_norm
        ranks = self._ranks(model, local)
        tails = [
            norm(a[self._left(rank) : rank]) * norm(b[:, self._left(rank) : rank])
            for layer, rank in ranks.items()
            for a, b in model.factors(layer)
            if self._left(rank) < rank
        ]
        return torch.stack(tails).sum() if tails else torch.zeros(())
