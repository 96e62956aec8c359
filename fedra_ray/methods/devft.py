"""After DevFT: blocks in growing numbers, each in place of a group of similar ones. ICLR 2026."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fedra_ray.config.errors import SettingError
from fedra_ray.federation.allocation import Matrix
from fedra_ray.federation.grouping import consecutive, groups
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.messages import ServerTask
from fedra_ray.federation.reduction import Collected
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.methods.method import Method, Problem

if TYPE_CHECKING:
    from torch import Tensor

    from fedra_ray.methods.local import LocalRound
    from fedra_ray.model.submodel import Batch, SubModel

SIMILARITY, ROUNDS = "devft.similarity", "devft.rounds"


class DevFT(Method):
    """A client runs one representative per group of blocks; the LoRA of a representative is that of its whole group.

    The source gives: stages with 4, 8, 16 and 32 blocks of 32; groups by spectral clustering of the blocks' cosine
    similarity; a representative with frozen weights v_a + beta * sum_j (v_j - v_a) over its group, where a is the
    anchor, and beta = 0.1; LoRA written back to the whole group; no proxy data.

    It does not say, as far as we know it, and is chosen here: a stage takes equally many rounds, and by default begins
    with a quarter of the blocks, rounded down. The cosine is that of all frozen weight matrices of a block, taken as
    one vector, which a worker computes before the first round; groups need not be consecutive. The anchor is the first
    block of its group, and representatives run in the order of their anchors. The source's clients are alike: here one
    of depth d has min(s, d) representatives in a stage of s, and the next factors of a layer are the mean over all
    clients of those of the representative that stands for it.

    The whole model, each block with its own weights, is evaluated. A plan is of the last stage, with groups of
    consecutive blocks. A server optimiser takes its steps with the anchors alone.

    Args:
        problem: The model and the fleet.
        stages: How many blocks each stage has, ascending; None for a quarter, a half and all of them.
        beta: How far a representative goes from its anchor.
    """

    collects_values = True
    averages_factors = False
    reads_weights = True
    fills_gaps = True

    def __init__(self, problem: Problem, stages: list[int] | None = None, beta: float = 0.1) -> None:
        super().__init__(problem)
        layers = self.num_layers
        self.stages = sorted({max(1, layers // part) for part in (4, 2, 1)}) if stages is None else list(stages)
        if not self.stages or self.stages != sorted({*self.stages}) or not 1 <= self.stages[0] <= layers:
            raise SettingError("method.options.stages", stages, f"must be ascending numbers from 1 to {layers}")
        if self.stages[-1] > layers:
            raise SettingError("method.options.stages", stages, f"must be at most {layers}, the layers of the model")
        if not beta >= 0:
            raise SettingError("method.options.beta", beta, "must be at least 0")
        self.beta = beta

    def init_state(self, layout: Layout, seed: int) -> ServerState:
        return super().init_state(layout, seed).keeping(**{ROUNDS: np.zeros((), dtype=np.int64)})

    def server_tasks(self, state: ServerState, number: int) -> list[ServerTask]:
        return [] if SIMILARITY in state.arrays else [ServerTask(number, 0, 1.0, 0)]  # weights alone: no image

    def compute(self, model: SubModel, batches: Iterator[Batch], task: ServerTask, sent: ServerState) -> Arrays:
        return {SIMILARITY: model.similarity()}

    def take_in(self, state: ServerState, results: list[Arrays]) -> ServerState:
        return state.keeping(**{SIMILARITY: results[0][SIMILARITY]})

    def broadcast(self, state: ServerState) -> Arrays:
        return {name: state.arrays[name] for name in (SIMILARITY,) if name in state.arrays}

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        done = self.problem.rounds if state is None else int(state.arrays[ROUNDS])
        size = self.stages[min(done * len(self.stages) // self.problem.rounds, len(self.stages) - 1)]
        matrix = np.zeros((len(depths), self.num_layers), dtype=bool)
        for row, depth in zip(matrix, depths, strict=True):
            row[[own[0] for own in self._groups(min(size, depth), {} if state is None else state.arrays)]] = True
        return matrix

    def begin(self, model: SubModel, local: LocalRound) -> None:
        own = self._groups(len(local.task.layers), local.received)
        local.scratch[SIMILARITY] = [model.merged(members, self.beta) for members in own]

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        from torch.nn import functional

        stream = model.embed(batch.inputs)
        for block in local.scratch[SIMILARITY]:
            stream = stream.after(block)
        return functional.cross_entropy(model.scores(stream), batch.labels)

    def merge(self, state: ServerState, total: Any) -> ServerState:
        collected: Collected = total
        layout, contributions = collected.layout, collected.contributions
        values = super().merge(state, total).values.copy()
        weights = [one.task.weight for one in contributions]
        for layer in range(self.num_layers):
            factors = []
            for one in contributions:
                own = self._groups(len(one.task.layers), state.arrays)
                (anchor,) = [members[0] for members in own if layer in members]
                held = layout.held(one.task.layers, one.task.sent)
                factors.append(layout.part(one.values, held, anchor))
            mean = np.average(np.array(factors, dtype=np.float64), axis=0, weights=weights)
            values[layout.segments[layer]] = mean
        return ServerState(values, state.arrays).keeping(**{ROUNDS: state.arrays[ROUNDS] + 1})

    def _groups(self, count: int, arrays: Arrays) -> list[list[int]]:
        """The groups that so many representatives stand for."""
        if SIMILARITY not in arrays:
            return consecutive(self.num_layers, count)
        return groups(np.asarray(arrays[SIMILARITY]), count)
