"""Partial: every client trains every layer, those that it cannot hold together from a part of each batch.

The forward pass of the whole model, streamed, and an exact gradient of the last layers take no more memory than these
layers do. An exact gradient of the others takes their blocks once more, one at a time (Chen et al. 2016, arXiv
1604.06174); here it is paid for a part of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
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


class Partial(Method):
    """A client of depth d gets the gradient of its last d - 1 layers and head from every image of a batch of n.

    That of the layers before these comes from the first k = ceil(share n) images alone: their part of the batch's
    gradient, so that the steps of these layers are shorter by k / n, as a batch of k images calls for (Goyal et al.
    2017, arXiv 1706.02677, section 2.1). With share 1, or depth L, this is AllLarge; without the first images it would
    be suffix tuning. A batch is a random draw, so any k of its images are. Of the d blocks that the client has
    room for, one's room is for those that pass through, and for the inputs that k images have there.

    Args:
        problem: The model and the fleet.
        share: Part of a batch from which all layers get gradients.
        unbiased: Whether the early layers' gradient counts n / k times, so that its expectation is that of the batch.
    """

    def __init__(self, problem: Problem, share: float = 0.25, unbiased: bool = False) -> None:
        super().__init__(problem)
        if not 0 < share <= 1:
            raise SettingError("method.options.share", share, "must be greater than 0 and at most 1")
        self.share = share
        self.unbiased = unbiased

    def allocate(self, depths: list[int], rng: np.random.Generator, state: ServerState | None = None) -> Matrix:
        return prefix([self.num_layers] * len(depths), self.num_layers)

    def partial(self, layers: Sequence[int], depth: int) -> int:
        return len(layers) - max(depth, 1) + 1 if depth < len(layers) and self.share < 1 else 0

    def loss(self, model: SubModel, batch: Batch, local: LocalRound) -> Tensor:
        import torch
        from torch.nn import functional

        count = _count(batch.inputs)
        deep = ceil(self.share * count)
        early = self.partial(local.task.layers, local.task.depth)
        if deep == count or not early:
            return super().loss(model, batch, local)
        tokens = _run(model, _images(batch.inputs, slice(0, deep)), early)
        with torch.no_grad():
            rest = _run(model, _images(batch.inputs, slice(deep, None)), early)
        whole, times = tokens.detach(), count / deep if self.unbiased else 1
        stream = model.embed(batch.inputs)
        stream = stream._replace(tokens=torch.cat([whole + times * (tokens - whole), rest]))
        for block in list(model.blocks)[early:]:
            stream = stream.after(block)
        return functional.cross_entropy(model.scores(stream), batch.labels)


def _run(model: SubModel, inputs: Inputs, blocks: int) -> Tensor:
    """Tokens after the first blocks."""
    stream = model.embed(inputs)
    for block in list(model.blocks)[:blocks]:
        stream = stream.after(block)
    return stream.tokens


def _count(inputs: Inputs) -> int:
    """Number of examples."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def _images(inputs: Inputs, part: slice) -> Inputs:
    """A part of the inputs of a batch."""
    if isinstance(inputs, Mapping):
        return {name: value[part] for name, value in inputs.items()}
    return inputs[part]
