"""Methods around methods: what combines with any allocation, objective and aggregation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedra_ray.federation.allocation import Coverage, Matrix
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ServerTask
from fedra_ray.federation.reduction import MaskedSums, Reduction
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, Inputs, SubModel


class Wrapper(Method):
    """A method that decides as another one does, except for what a subclass overrides.

    An override calls the same function of `inner` and adds to it. Arrays of the server and of clients lie beside those
    of `inner` under names of their own, so it passes on the whole state and replaces only its own part.

    Args:
        inner: The wrapped method.
    """

    def __init__(self, inner: Method) -> None:
        super().__init__(inner.problem)
        self.inner = inner
        self.head_names = inner.head_names
        self.extra_names = inner.extra_names
        self.stand_in_names = inner.stand_in_names
        self.keeps_client_state = inner.keeps_client_state or type(self).keeps_client_state
        self.streams = inner.streams
        self.recomputes = inner.recomputes
        self.share = inner.share
        self.fills_gaps = inner.fills_gaps
        self.statistics = (*inner.statistics, *type(self).statistics)
        self.averages_factors = inner.averages_factors
        self.changes_weights = inner.changes_weights or type(self).changes_weights
        self.reads_weights = inner.reads_weights or type(self).reads_weights
        self.collects_values = inner.collects_values or type(self).collects_values

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return self.inner.allocate(depths, rng, state)

    def eligible(self, depth: int) -> bool:
        return self.inner.eligible(depth)

    def blocks(self, layers: Sequence[int]) -> tuple[int, ...]:
        return self.inner.blocks(layers)

    def partial(self, layers: Sequence[int], depth: int) -> int:
        return self.inner.partial(layers, depth)

    def named(self, layers: Sequence[int]) -> tuple[str, ...]:
        return self.inner.named(layers)

    def ranks(self, layers: Sequence[int]) -> Mapping[int, int]:
        return self.inner.ranks(layers)

    def travelling_factors(self, number: int) -> tuple[str, str]:
        return self.inner.travelling_factors(number)

    def unsent(self, cohort: Sequence[int]) -> tuple[str, ...]:
        return self.inner.unsent(cohort)

    def coverage(self, depths: list[int], matrix: Matrix) -> Coverage:
        return self.inner.coverage(depths, matrix)

    def server_tasks(self, state: ServerState, number: int) -> list[ServerTask]:
        return self.inner.server_tasks(state, number)

    def compute(self, model: SubModel, batches: Iterator[Batch], task: ServerTask, sent: ServerState) -> Arrays:
        return self.inner.compute(model, batches, task, sent)

    def take_in(self, state: ServerState, results: list[Arrays]) -> ServerState:
        return self.inner.take_in(state, results)

    def extra_modules(self, width: int) -> Mapping[str, nn.Module]:
        return self.inner.extra_modules(width)

    def begin(self, model: SubModel, local: LocalRound) -> None:
        self.inner.begin(model, local)

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        return self.inner.loss(model, batch, local)

    def adjust_gradients(self, model: SubModel, local: LocalRound) -> None:
        self.inner.adjust_gradients(model, local)

    def finish(self, model: SubModel, local: LocalRound) -> Arrays:
        return self.inner.finish(model, local)

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        return self.inner.init_state(layout, seed)

    def broadcast(self, state: ServerState) -> Arrays:
        return self.inner.broadcast(state)

    def group(self, layers: Sequence[int]) -> int:
        return self.inner.group(layers)

    def reduction(self, layout: Layout) -> Reduction:
        inner = self.inner.reduction(layout)
        return super().reduction(layout) if isinstance(inner, MaskedSums) else inner

    def merge(self, state: ServerState, total: Any) -> ServerState:
        return self.inner.merge(state, total)

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        return self.inner.evaluated_layers

    @property
    def evaluated_exits(self) -> list[tuple[int, str]]:
        return self.inner.evaluated_exits

    @property
    def combination(self) -> str:
        return self.inner.combination if type(self).predict is Wrapper.predict else super().combination

    def predict(self, model: SubModel, inputs: Inputs) -> Tensor:
        return self.inner.predict(model, inputs)
