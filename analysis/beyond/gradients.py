"""Gradients of light blocks: exact ones to compare with, and maps regressed on them."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.beyond.central import Bench, batches
from analysis.beyond.light import after_light
from analysis.beyond.surrogates import RIDGE
from analysis.beyond.surrogates import ridge as affine
from fedra_ray.model.lora import LoraLinear
from fedra_ray.model.submodel import Batch, SubModel

Maps = list[Tensor | None]


def light_loss(model: SubModel, batch: Batch, exact: Sequence[int], light: Sequence[int], maps: Maps) -> Tensor:
    """Cross entropy of the whole model, whose other blocks than `exact` are passed lightly.

    Args:
        model: The model, without dropout.
        batch: Images and labels.
        exact: Blocks with exact derivatives.
        light: Those of the others whose B is trained.
        maps: What stands in for the derivative of each block.
    """
    stream = model.embed(batch.inputs)
    for layer, block in enumerate(model.blocks):
        if layer in exact:
            stream = stream.after(block)
        else:
            stream = after_light(block, stream, adapted(block) if layer in light else [], maps[layer])
    return functional.cross_entropy(model.heads["head"](model.readout(stream.tokens)), batch.labels)


def adapted(block: nn.Module) -> list[LoraLinear]:
    """The adapted layers of a block."""
    return [module for module in block.modules() if isinstance(module, LoraLinear)]


def boundary_gradients(model: SubModel, batch: Batch) -> list[Tensor]:
    """The loss's gradients of the tokens before every block and behind the last, with one block in memory at a time."""
    with torch.no_grad():
        streams = [model.embed(batch.inputs)]
        for block in model.blocks:
            streams.append(streams[-1].after(block))
    end = streams[-1].tokens.clone().requires_grad_()
    with torch.enable_grad():
        loss = functional.cross_entropy(model.heads["head"](model.readout(end)), batch.labels)
    gradients = list(torch.autograd.grad(loss, end))
    for stream, block in zip(streams[-2::-1], list(model.blocks)[::-1], strict=True):
        leaf = stream.tokens.clone().requires_grad_()
        with torch.enable_grad():
            after = stream._replace(tokens=leaf).after(block).tokens
        gradients.append(torch.autograd.grad(after, leaf, gradients[-1])[0])
    return gradients[::-1]


class Regression:
    """Exact sums of gradients, from which maps are regressed.

    Args:
        model: Whose blocks.
        first: Whether the first token has a map of its own, as a class token needs.
    """

    def __init__(self, model: SubModel, first: bool) -> None:
        self.groups = [slice(0, 1), slice(1, None)] if first else [slice(None)]
        width = int(model.backbone.num_features)  # type: ignore[arg-type]
        self.sums = torch.zeros(len(model.blocks), len(self.groups), 2, width, width, dtype=torch.float64)

    def add(self, gradients: list[Tensor]) -> None:
        """Take in the gradients at all boundaries of a batch."""
        for sums, (before, behind) in zip(self.sums, pairwise(gradients), strict=True):
            for (gram, cross), group in zip(sums, self.groups, strict=True):
                x, y = (part[:, group].flatten(0, 1).double() for part in (behind, before))
                gram += x.t() @ x
                cross += x.t() @ y

    def maps(self) -> Maps:
        """The regressions of gradients before blocks on those behind them, with a ridge towards the identity."""
        return [torch.stack([_towards_identity(*sums) for sums in layer]).squeeze(0).float() for layer in self.sums]


def _towards_identity(gram: Tensor, cross: Tensor) -> Tensor:
    eye = torch.eye(len(gram), dtype=gram.dtype)
    scale = RIDGE * gram.diagonal().mean() + torch.finfo(gram.dtype).tiny
    return eye + torch.linalg.solve(gram + scale * eye, cross - gram)


def forward_maps(model: SubModel, images: Tensor) -> Maps:
    """Maps of gradients from affine fits of the blocks' forward passes, token by token."""
    maps: Maps = []
    with torch.no_grad():
        stream = model.embed(images)
        for block in model.blocks:
            after = stream.after(block)
            ones = torch.ones_like(stream.tokens[..., :1])
            weight = affine(torch.cat([stream.tokens, ones], -1), after.tokens - stream.tokens)
            maps.append(torch.eye(weight.shape[1]) + weight[:-1].t())
            stream = after
    return maps


def identities(model: SubModel) -> Maps:
    """The skip path alone."""
    return [None] * len(model.blocks)


def gradients_of_b(model: SubModel) -> list[Tensor]:
    """The gradients of every layer's factors B, as one vector a layer."""
    return [torch.cat([b.grad.flatten() for _, b in model.factors(layer)]) for layer in range(len(model.blocks))]


def zero(model: SubModel) -> None:
    """Set all gradients to zero, in place."""
    for gradient in model.gradients:
        gradient.zero_()


def cosines(bench: Bench, seed: int, steps: int = 60) -> pd.DataFrame:
    """Cosine and norm ratio of every block's gradient of B by stand-in, after training the head for some steps."""
    model = bench.fresh(seed)
    everything = range(len(model.blocks))
    train = bench.data.splits["train"]
    optimiser = torch.optim.Adam(model.heads.parameters(), lr=1e-2)
    for images, labels in batches(train, 64, steps, seed):
        zero(model)
        light_loss(model, Batch(images, labels), [], [], identities(model)).backward()
        optimiser.step()
    regression = Regression(model, has_class_token(model))
    for images, labels in batches(train, 128, 4, seed + 1):
        regression.add(boundary_gradients(model, Batch(images, labels)))
    fitted = forward_maps(model, train.images[:512])
    kinds = {"identity": identities(model), "forward": fitted, "regressed": regression.maps()}
    batch = Batch(*next(batches(train, 256, 1, seed + 2)))
    zero(model)
    light_loss(model, batch, everything, [], identities(model)).backward()
    true = [gradient.clone() for gradient in gradients_of_b(model)]
    rows = []
    for kind, maps in kinds.items():
        zero(model)
        light_loss(model, batch, [], everything, maps).backward()
        for layer, (own, exact) in enumerate(zip(gradients_of_b(model), true, strict=True)):
            cosine = float(functional.cosine_similarity(own, exact, dim=0))
            rows.append({"stand-in": kind, "block": layer, "cosine": cosine, "norm": float(own.norm() / exact.norm())})
    return pd.DataFrame(rows)


def has_class_token(model: SubModel) -> bool:
    """Whether the backbone has a token that only the head reads."""
    return bool(getattr(model.backbone, "num_prefix_tokens", 0))
