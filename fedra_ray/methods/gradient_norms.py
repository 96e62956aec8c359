"""Allocation by what layers' gradients say: clients send one number per layer, and the server remembers their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedra_ray.federation.layout import Layout
from fedra_ray.federation.reduction import Collected
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.method import Method

if TYPE_CHECKING:
    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import SubModel

SQUARES, ROUNDS = "gradients.squares", "gradients.rounds"


class GradientNorms(Method):
    """Knows of every layer the squared norm of its LoRA gradient, from the last round that had a holder of it.

    That is the mean over the local steps of a holder, and over the holders: the trace of the empirical Fisher
    information of the layer's factors, batch by batch. A layer that nobody has held yet is infinite.
    """

    statistics = (SQUARES,)

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        unknown = np.full(self.num_layers, np.inf)
        return super().init_state(layout, seed).keeping(**{SQUARES: unknown, ROUNDS: np.zeros((), dtype=np.int64)})

    def begin(self, model: SubModel, local: LocalRound) -> None:
        local.scratch[SQUARES] = np.zeros(self.num_layers)

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        for layer, gradient in zip(local.task.layers, model.gradients, strict=False):  # layers come before heads
            local.scratch[SQUARES][layer] += gradient.double().pow(2).sum().item()

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        return {SQUARES: local.scratch[SQUARES] / local.steps}

    def merge(self, state: ServerState, total: Any) -> ServerState:
        collected: Collected = total
        known = state.arrays[SQUARES].copy()
        tasks = [one.task for one in collected.contributions]
        holders = np.bincount([layer for task in tasks for layer in task.layers], minlength=self.num_layers)
        held = holders > 0
        known[held] = collected.sum(SQUARES)[held] / holders[held]
        return super().merge(state, total).keeping(**{SQUARES: known, ROUNDS: state.arrays[ROUNDS] + 1})

    def squares(self, state: ServerState | None) -> NDArray[np.float64]:
        """The squared norm of every layer (layers,), infinite where it is not known."""
        return np.full(self.num_layers, np.inf) if state is None else state.arrays[SQUARES]
