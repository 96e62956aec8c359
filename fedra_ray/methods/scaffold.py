"""SCAFFOLD: control variates correct the drift of clients. Karimireddy et al., ICML 2020, arXiv 1910.06378."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fedra_ray.federation.layout import Layout
from fedra_ray.federation.reduction import MaskedSums
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.methods.wrapper import Wrapper

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import SubModel

CONTROL = "scaffold.control"


class Scaffold(Wrapper):
    """Local steps follow g - c_i + c; c_i is the client's control variate, and c the server's (algorithm 1).

    After its steps a client sets c_i to the mean of its gradients g. With plain SGD that is option II of the paper,
    c_i - c + (x - y_i) / (K lr), and it has a meaning with momentum, weight decay and clipping too. The server adds
    the changes of the cohort's c_i, divided by the number of all clients, to c. What a client does not train in a
    round keeps its c_i.
    """

    keeps_client_state = True

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        state = self.inner.init_state(layout, seed)
        return state.keeping(**{CONTROL: np.zeros_like(state.values)})

    def broadcast(self, state: ServerState) -> Arrays:
        return {**self.inner.broadcast(state), CONTROL: state.arrays[CONTROL]}

    def begin(self, model: SubModel, local: LocalRound) -> None:
        self.inner.begin(model, local)
        local.scratch["correction"] = model.split(local.received[CONTROL] - _own(local))
        local.scratch["sum"] = [gradient * 0 for gradient in model.gradients]

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        for gradient, total in zip(model.gradients, local.scratch["sum"], strict=True):
            total.add_(gradient)
        self.inner.adjust_gradients(model, local)
        for gradient, correction in zip(model.gradients, local.scratch["correction"], strict=True):
            gradient.add_(correction)

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        extra = self.inner.finish(model, local)
        before = _own(local)
        mean: Vector = np.concatenate([(total / local.steps).cpu().numpy() for total in local.scratch["sum"]])
        local.kept[CONTROL] = local.layout.unpack(mean, local.trained, before)
        return {**extra, CONTROL: local.layout.pack(local.kept[CONTROL] - before, local.sent)}

    def merge(self, state: ServerState, total: Any) -> ServerState:
        merged = self.inner.merge(state, total)
        sums: MaskedSums = total
        change = sums.extra[CONTROL].sum() / self.problem.num_clients
        return merged.keeping(**{CONTROL: (state.arrays[CONTROL] + change).astype(np.float32)})


def _own(local: LocalRound) -> Vector:
    """The client's control variate, a full flat vector; zero before its first round."""
    control = local.kept.get(CONTROL)
    return np.zeros_like(local.start) if control is None else control
