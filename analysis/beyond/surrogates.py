"""How far linear maps, fitted in closed form, stand in for frozen blocks that a client lacks."""

import random
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from analysis.beyond.central import Bench, accuracy
from fedra_ray.model.submodel import SubModel

RIDGE = 1e-4  # of the mean diagonal of the Gram matrix
FITTED = 2400  # images
DEPTHS, DRAWS = (3, 4, 6), 4


def rows_of(tokens: Tensor, mean: bool) -> Tensor:
    """What a map reads: every token (images, tokens, width), beside the image's mean token if wanted, and a one."""
    parts = [tokens, tokens.mean(1, keepdim=True).expand_as(tokens)] if mean else [tokens]
    return torch.cat([*parts, torch.ones_like(tokens[..., :1])], dim=-1)


def ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """The map (inputs' width, targets' width) of a ridge regression, from sums in float64."""
    x, y = (part.reshape(-1, part.shape[-1]).double() for part in (inputs, targets))
    gram = x.t() @ x
    scale = RIDGE * gram.diagonal().mean()
    return torch.linalg.solve(gram + scale * torch.eye(len(gram), dtype=gram.dtype), x.t() @ y).float()


def explained(inputs: Tensor, targets: Tensor, weight: Tensor) -> float:
    """R2 of a map: one minus the part of the targets' variance that it leaves."""
    rest = (targets - inputs @ weight).double()
    spread = (targets - targets.mean((0, 1))).double()
    return 1 - float(rest.square().sum() / spread.square().sum())


@torch.no_grad()
def fits(model: SubModel, images: Tensor) -> tuple[list[list[float]], list[Tensor]]:
    """R2 of every block's branch on a fifth of the images, without and with the mean token; and the maps with it."""
    half = len(images) * 4 // 5
    stream = model.embed(images)
    scores: list[list[float]] = []
    maps: list[Tensor] = []
    for block in model.blocks:
        after = stream.after(block)
        branch = after.tokens - stream.tokens
        row = []
        for mean in (False, True):
            inputs = rows_of(stream.tokens, mean)
            weight = ridge(inputs[:half], branch[:half])
            row.append(explained(inputs[half:], branch[half:], weight))
        scores.append(row)
        maps.append(weight)
        stream = after
    return scores, maps


@torch.no_grad()
def refitted(model: SubModel, kept: Sequence[int], images: Tensor) -> list[Tensor | None]:
    """Maps in place of the blocks that are not kept, fitted one after another on what the sub-model sees.

    The target of the map after block l is the full model's tokens after l, so that a map also mends what came before.
    """
    full = own = model.embed(images)
    maps: list[Tensor | None] = []
    for layer, block in enumerate(model.blocks):
        full = full.after(block)
        if layer in kept:
            maps.append(None)
            own = own.after(block)
            continue
        inputs = rows_of(own.tokens, True)
        maps.append(ridge(inputs, full.tokens - own.tokens))
        own = own._replace(tokens=own.tokens + inputs @ maps[-1])
    return maps


def features(model: SubModel, images: Tensor, kept: Sequence[int], maps: Sequence[Tensor | None] | None) -> Tensor:
    """What the head reads (images, width), with maps in place of the blocks that are not kept, or nothing."""
    stream = model.embed(images)
    for layer, block in enumerate(model.blocks):
        if layer in kept:
            stream = stream.after(block)
        elif maps is not None:
            weight = maps[layer]
            assert weight is not None
            stream = stream._replace(tokens=stream.tokens + rows_of(stream.tokens, True) @ weight)
    return model.readout(stream.tokens)


def closed_form_head(model: SubModel, images: Tensor, labels: Tensor) -> nn.Linear:
    """A head by ridge regression on the full model's features, from sums in float64."""
    width = range(len(model.blocks))
    read = torch.cat([features(model, part, width, None) for part in images.split(256)])
    ones = torch.cat([read, torch.ones_like(read[:, :1])], 1)
    weight = ridge(ones, nn.functional.one_hot(labels).float())
    head = nn.Linear(read.shape[1], weight.shape[1])
    head.weight.data, head.bias.data = weight[:-1].t().contiguous(), weight[-1].clone()
    return head


@torch.no_grad()
def measure(bench: Bench, seed: int) -> pd.DataFrame:
    """R2 by block; and test accuracy of the frozen model's own closed-form head by number of kept blocks.

    Rows have `measure` (R2 or accuracy), `of` (a block, or how many are kept), `way` and `value`.
    """
    model = bench.fresh(seed).eval()
    train, test = bench.data.splits["train"], bench.data.splits["test"]
    head = closed_form_head(model, train.images, train.labels)
    chosen = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(seed))[:FITTED]
    images = train.images[chosen]
    scores, maps = fits(model, images)
    rng = random.Random(seed)
    everything = range(len(model.blocks))

    def score(kept: Sequence[int], stand_ins: Sequence[Tensor | None] | None) -> float:
        return accuracy(lambda batch: head(features(model, batch, kept, stand_ins)), test)

    rows: list[dict[str, float]] = [{"kept": len(everything), "skipped": score(everything, None)}]
    for depth in DEPTHS:
        for _ in range(DRAWS):
            kept = sorted(rng.sample(everything, depth))
            again = refitted(model, kept, images)
            rows.append(
                {
                    "kept": depth,
                    "skipped": score(kept, None),
                    "fitted": score(kept, maps),
                    "refitted": score(kept, again),
                }
            )
    r2 = pd.DataFrame(scores, columns=["token", "token and mean"]).rename_axis("of").reset_index()
    by_depth = pd.DataFrame(rows).groupby("kept").mean().rename_axis("of").reset_index()
    parts = {"R2": r2, "accuracy": by_depth}
    long = [part.melt(id_vars="of", var_name="way").assign(measure=name) for name, part in parts.items()]
    return pd.concat(long).dropna().assign(seed=seed)[["measure", "of", "way", "value", "seed"]]
