"""Short central training: on which images blocks get exact gradients, and what the others get."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch.nn import functional

from analysis.beyond.central import Bench, accuracy, batches
from analysis.beyond.gradients import (
    Maps,
    Regression,
    boundary_gradients,
    has_class_token,
    identities,
    light_loss,
    zero,
)
from fedra_ray.model.submodel import Batch, SubModel

STEPS, BATCH, RATE = 300, 32, 3e-3
FIRST_FIT, FITS = 20, 50  # step of the first fit of maps, and steps between later ones
DEPTH = 3


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        exact: Blocks that get exact gradients from every image of a step, by a source of random numbers.
        light: Blocks of which B gets the gradient that stand-ins pass.
        deep: Images of a step from which all blocks get exact gradients besides.
        refit: Whether stand-ins are regressed on gradients, again and again; else they are the identity.
        skip: Whether blocks that are not `exact` are left out, as in FedRA.
        through: Whether gradients pass them exactly, as in FedRA's draws with streamed blocks.
        images: Images of a step.
        only_b: Whether A stays as it is.
    """

    exact: Callable[[random.Random], Sequence[int]]
    light: Sequence[int] = ()
    deep: int = 0
    refit: bool = False
    skip: bool = False
    through: bool = False
    images: int = BATCH
    only_b: bool = False


def variants(layers: int) -> dict[str, tuple[float, Variant]]:
    """All ways, for a client of DEPTH blocks, and the forward passes that a step costs for each of 32 images.

    A backward pass through frozen weights counts as a forward pass; a block whose activations are not kept runs again.
    """
    everything, last = range(layers), range(layers - DEPTH, layers)
    early = range(layers - DEPTH)
    share = DEPTH / layers

    def drawn(rng: random.Random) -> Sequence[int]:
        return sorted(rng.sample(everything, DEPTH))

    def suffix(_: random.Random) -> Sequence[int]:
        return last

    def whole(_: random.Random) -> Sequence[int]:
        return everything

    def partly(images: int) -> float:
        return 1 + share + 2 * (1 - share) * images / BATCH

    reached = 1 - (layers - DEPTH) / (DEPTH + 1) / layers  # mean part of the model behind the first of the drawn blocks
    return {
        "all blocks": (3, Variant(whole)),
        "all blocks, 16 images": (1.5, Variant(whole, images=16)),
        "all blocks, 13 images": (3 * 13 / BATCH, Variant(whole, images=13)),
        "all blocks, B alone": (3, Variant(whole, only_b=True)),
        "head alone": (1, Variant(lambda _: ())),
        "suffix": (1 + share, Variant(suffix)),
        "suffix, light blocks, identity": (1 + share, Variant(suffix, early)),
        "suffix, light blocks, regressed": (1 + share, Variant(suffix, early, refit=True)),
        "suffix, all blocks on 8 images": (partly(8), Variant(suffix, deep=8)),
        "suffix, light blocks, all on 8 images": (partly(8), Variant(suffix, early, deep=8)),
        "random, identity": (1 + share, Variant(drawn)),
        "random, exact": (1 + 2 * reached - share, Variant(drawn, through=True)),
        "random, skipped": (2 * share, Variant(drawn, skip=True)),
    }


def gradients(model: SubModel, batch: Batch, variant: Variant, chosen: Sequence[int], maps: Maps) -> None:
    """Put the gradients of a step into the model."""
    everything = range(len(model.blocks))
    zero(model)
    if variant.skip:
        functional.cross_entropy(model.logits(batch.inputs, chosen), batch.labels).backward()
        return
    if variant.through:
        light_loss(model, batch, everything, [], maps).backward()
        for layer in set(everything) - set(chosen):
            model.gradients[layer].zero_()
        return
    size, deep = len(batch.labels), variant.deep
    assert isinstance(batch.inputs, torch.Tensor)
    rest = Batch(batch.inputs[deep:], batch.labels[deep:])
    (light_loss(model, rest, chosen, variant.light, maps) * (1 - deep / size)).backward()
    if deep:
        own = Batch(batch.inputs[:deep], batch.labels[:deep])
        (light_loss(model, own, everything, [], maps) * (deep / size)).backward()


def train(bench: Bench, variant: Variant, seed: int) -> SubModel:
    """Train a fresh model so."""
    model = bench.fresh(seed)
    rng = random.Random(seed)
    optimiser = torch.optim.Adam(model.held, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    maps = identities(model)
    for step, (images, labels) in enumerate(batches(bench.data.splits["train"], variant.images, STEPS, seed)):
        if variant.refit and (step == FIRST_FIT or (step > FIRST_FIT and step % FITS == 0)):
            maps = fitted(model, bench, seed + step)
        gradients(model, Batch(images, labels), variant, variant.exact(rng), maps)
        if variant.only_b:
            for layer in range(len(model.blocks)):
                for a, _ in model.factors(layer):
                    a.grad.zero_()
        optimiser.step()
        schedule.step()
    return model


def fitted(model: SubModel, bench: Bench, seed: int) -> Maps:
    """Maps regressed on the exact gradients of six batches."""
    regression = Regression(model, has_class_token(model))
    for images, labels in batches(bench.data.splits["train"], BATCH, 6, seed):
        regression.add(boundary_gradients(model, Batch(images, labels)))
    return regression.maps()


def measure(bench: Bench, name: str, seed: int) -> pd.DataFrame:
    """One row: a way to train, its cost, and its validation and test accuracy in [0, 1]."""
    model = bench.fresh(seed)
    cost, variant = variants(len(model.blocks))[name]
    model = train(bench, variant, seed)
    scores = {
        split: accuracy(lambda images: model.logits(images, range(len(model.blocks))), bench.data.splits[split])
        for split in ("validation", "test")
    }
    return pd.DataFrame([{"variant": name, "seed": seed, "forward passes": cost, **scores}])
