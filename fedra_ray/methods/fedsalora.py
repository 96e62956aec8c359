"""FedSA-LoRA: clients share A and keep B. Guo et al., ICLR 2025, arXiv 2410.01463."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedra_ray.federation.state import Arrays
from fedra_ray.methods.wrapper import Wrapper

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import SubModel

OWN, KNOWN = "fedsalora.own", "fedsalora.known"


class FedSaLora(Wrapper):
    """A client begins with the global A and with its own B of a layer, if it has trained that layer before.

    The server averages B too, because a global model is evaluated, but no client that has a B of its own sees that.
    """

    keeps_client_state = True

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return "A", "AB"  # down, B is for layers that a client has not trained yet

    def begin(self, model: SubModel, local: LocalRound) -> None:
        for layer in local.task.layers:
            if KNOWN in local.kept and local.kept[KNOWN][layer]:
                for (_, b), (_, place) in zip(model.factors(layer), local.layout.factors(layer), strict=True):
                    b.data.copy_(b.data.new_tensor(local.kept[OWN][place]).view_as(b))
        self.inner.begin(model, local)

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        own = np.array(local.kept.get(OWN, np.zeros_like(local.start)))
        known = np.array(local.kept.get(KNOWN, np.zeros(len(local.layout.layers), dtype=bool)))
        known[list(local.task.layers)] = True
        for layer in local.task.layers:
            for (_, b), (_, place) in zip(model.factors(layer), local.layout.factors(layer), strict=True):
                own[place] = b.detach().cpu().numpy().reshape(-1)
        local.kept.update({OWN: own, KNOWN: known})
        return self.inner.finish(model, local)
