"""A run's full model with factors of any rank: what stacked clients compute, and the inputs of every LoRA layer."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from analysis.runs.factors import Array, Factors
from analysis.runs.replay import Replay
from fedra_ray.federation.state import Vector
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.weights import from_weights

#: Factors by place: the path of the module that LoRA adapts.
Places = Mapping[str, Factors]


def places(replay: Replay, layer: int) -> list[str]:
    """The places at which a layer (from 0) has factors."""
    return [f"blocks.{layer}.{target}" for target in replay.blueprint.targets]


def factors_at(replay: Replay, values: Vector, place: str) -> Factors:
    """The factors of a full flat vector at one place, as float64."""
    tensors = replay.layout.tensors(values)
    return Factors(*(tensors[f"{place}.{name}"].astype(np.float64) for name in ("lora_A", "lora_B")))


class Aggregate:
    """The run's model with room for factors of a higher rank.

    Args:
        replay: The run.
        room: How many times the run's rank fits.
    """

    def __init__(self, replay: Replay, room: int) -> None:
        blueprint = replay.blueprint
        config = blueprint.config
        # alpha grows with the rank: what scales the products stays as it is
        lora = replace(config.lora, rank=room * config.lora.rank, alpha=room * config.lora.alpha)
        backbone = from_weights(config.backbone, replay.weights.evaluation)
        heads = blueprint.layout.head_names
        classes = len(blueprint.classes)
        # not fused: a fused block does not call its LoRA layers as modules, and hooks would see nothing
        self._model = SubModel(backbone, blueprint.targets, lora, heads, classes, fused=False).eval()
        self._replay = replay

    def load(self, values: Vector, instead: Places | None = None) -> None:
        """Take a full flat vector of the run, with other factors `instead` at some places."""
        tensors: dict[str, NDArray[Any]] = dict(self._replay.layout.tensors(values))
        for place, factors in (instead or {}).items():
            tensors |= {f"{place}.lora_A": factors.a, f"{place}.lora_B": factors.b}
        entries = (entry for segment in self._model.layout.entries for entry in segment)
        padded = [_padded(tensors[entry.name], entry.shape).ravel() for entry in entries]
        self._model.load(np.concatenate(padded), [])

    def logits(self, images: Tensor, layers: tuple[int, ...]) -> Array:
        """Class scores (images, classes) of these layers, by the deepest head."""
        with torch.inference_mode():
            return self._model.logits(images, layers, self._replay.layout.head_names[-1]).numpy().astype(np.float64)

    def inputs(self, images: Tensor, layers: tuple[int, ...], rows: int) -> dict[str, Array]:
        """The inputs of the LoRA layers while the images pass through these layers.

        Returns:
            At most `rows` vectors (rows, inputs) per place, evenly spaced over images and tokens.
        """
        seen: dict[str, Array] = {}

        def note(place: str, module: nn.Module, arguments: tuple[Tensor]) -> None:
            flat = arguments[0].flatten(0, -2)
            chosen = torch.linspace(0, len(flat) - 1, min(rows, len(flat))).long()
            seen[place] = flat[chosen].numpy().astype(np.float64)

        named = dict(self._model.backbone.named_modules())
        adapted = {place: named[place] for layer in layers for place in places(self._replay, layer)}
        handles = [module.register_forward_pre_hook(partial(note, place)) for place, module in adapted.items()]
        self.logits(images, layers)
        for handle in handles:
            handle.remove()
        return seen


def _padded(values: NDArray[Any], shape: tuple[int, ...]) -> Vector:
    """The values in a larger array of zeros, which add nothing to a product of factors."""
    whole = np.zeros(shape, dtype=np.float32)
    whole[tuple(slice(length) for length in values.shape)] = values
    return whole
