"""Local training of one of the two LoRA factors, while the other one stays as it came."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from fedra_ray.federation.state import Arrays
from fedra_ray.methods.wrapper import Wrapper

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, SubModel


class FixedFactor(Wrapper):
    """Holds one of A and B at the global value through a client's round.

    Its gradient is zero before clipping, and weight decay is undone after every step.
    """

    @abstractmethod
    def fixed(self, number: int) -> int:
        """Which factor is fixed in a round: 0 for A, 1 for B."""

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return "BA"[self.fixed(number)], "AB"

    def begin(self, model: SubModel, local: LocalRound) -> None:
        self.inner.begin(model, local)
        local.scratch["fixed"] = [(factor, factor.detach().clone()) for factor in self._factors(model, local)]

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        _restore(local)
        return self.inner.loss(model, batch, local)

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        self.inner.adjust_gradients(model, local)
        for factor in self._factors(model, local):
            if factor.grad is not None:
                factor.grad.zero_()

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        _restore(local)
        return self.inner.finish(model, local)

    def _factors(self, model: SubModel, local: LocalRound) -> list[nn.Parameter]:
        return [pair[self.fixed(local.task.round)] for layer in local.task.layers for pair in model.factors(layer)]


def _restore(local: LocalRound) -> None:
    for factor, value in local.scratch["fixed"]:
        factor.data.copy_(value)
