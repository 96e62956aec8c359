"""FedProx: a proximal term holds clients near the global values. Li et al., MLSys 2020, arXiv 1812.06127."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedra_ray.config.errors import SettingError
from fedra_ray.methods.method import Method
from fedra_ray.methods.wrapper import Wrapper

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import SubModel


class FedProx(Wrapper):
    """Each client minimises F_k(w) + mu/2 ||w - w_t||^2 over what it trains (equation 2).

    The term enters by its gradient mu (w - w_t), so the training loss in the records is F_k alone, and can be
    compared with that of other methods.

    Args:
        inner: The wrapped method.
        mu: Weight of the proximal term; 0 is the wrapped method.
    """

    def __init__(self, inner: Method, mu: float = 0.01) -> None:
        super().__init__(inner)
        if not mu >= 0:
            raise SettingError("client_optimizer.options.mu", mu, "must be at least 0")
        self.mu = mu

    def begin(self, model: SubModel, local: LocalRound) -> None:
        self.inner.begin(model, local)
        local.scratch["fedprox"] = [parameter.detach().clone() for parameter in model.held]

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        self.inner.adjust_gradients(model, local)
        for gradient, parameter, start in zip(model.gradients, model.held, local.scratch["fedprox"], strict=True):
            gradient.add_(parameter.detach() - start, alpha=self.mu)
