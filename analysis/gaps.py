"""What aggregated factors compute against the mean of what clients compute, by layer and end to end."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from analysis.aggregates import Aggregate, factors_at, places
from analysis.factors import AGGREGATIONS, Array, Factors, relative
from analysis.replay import Vector
from analysis.tuned import Tuned

_ROWS = 1024  # input vectors a layer: more than any token width of a small model, and little memory in a large one


def branch_gap(
    held: Mapping[str, tuple[Sequence[Factors], Array]],
    before: Mapping[str, Factors],
    inputs: Mapping[str, Array],
    aggregation: str,
) -> tuple[float, float]:
    """Error of a layer's aggregated branches against the mean of its holders' branches.

    The scaling s stands on both sides of the ratios and drops out.

    Args:
        held: By place, the holders' factors and their weights, with the sum 1.
        before: By place, the factors that the holders began with.
        inputs: By place, what goes in there (rows, inputs).
        aggregation: A key of `analysis.factors.AGGREGATIONS`.

    Returns:
        The norm of the difference over all places, relative to the mean outputs and to what these changed by.
    """
    gaps, means, changes = [], [], []
    for place, (factors, weights) in held.items():
        rows = inputs[place]
        mean = sum(weight * each.output(rows) for each, weight in zip(factors, weights, strict=True))
        gaps.append((AGGREGATIONS[aggregation](factors, weights).output(rows) - mean).ravel())
        means.append(mean.ravel())
        changes.append((mean - before[place].output(rows)).ravel())
    gap = np.concatenate(gaps)
    return relative(gap, np.concatenate(means)), relative(gap, np.concatenate(changes))


def layer_gaps(tuned: Tuned, images: Tensor) -> Iterator[dict[str, Any]]:
    """The gap of every evaluated layer's own output, by aggregation; none where nobody holds it."""
    replay, layers = tuned.replay, tuned.replay.method.evaluated_layers
    model = Aggregate(replay, 1)
    model.load(tuned.values)
    inputs = model.inputs(images, layers, _ROWS)
    for layer in layers:
        holders, at = len(tuned.holders(layer)), places(replay, layer)
        held = {place: tuned.held(place, layer) for place in at} if holders else {}
        before = {place: factors_at(replay, tuned.values, place) for place in at}
        for aggregation in AGGREGATIONS:
            error, of_change = branch_gap(held, before, inputs, aggregation) if holders else (0.0, 0.0)
            place = {"aggregation": aggregation, "part": "layer", "layer": layer + 1, "holders": holders}
            yield {**place, "error": error, "error_of_change": of_change}


def score_gaps(tuned: Tuned, images: Tensor) -> Iterator[dict[str, Any]]:
    """The gap of class scores, by aggregation: against clients in the full model, and against their sub-models."""
    layers = tuned.replay.method.evaluated_layers
    own = [update.task.layers for update in tuned.updates]
    model = Aggregate(tuned.replay, len(own))

    def scores(values: Vector, held: tuple[int, ...], instead: Mapping[str, Factors] | None = None) -> Array:
        model.load(values, instead)
        return model.logits(images, held)

    def mean(found: Sequence[Array]) -> Array:
        return np.tensordot(tuned.shares, found, axes=1)

    means = {  # after the round, and before it
        "scores": (mean([scores(values, layers) for values in tuned.clients]), scores(tuned.values, layers)),
        "sub-models": (
            mean([scores(values, held) for values, held in zip(tuned.clients, own, strict=True)]),
            mean([scores(tuned.values, held) for held in own]),
        ),
    }
    heads = tuned.mean_heads()  # linear in the features: their mean is right for every way to aggregate factors
    for aggregation in AGGREGATIONS:
        found = scores(heads, layers, tuned.aggregated(aggregation))
        for part, (after, before) in means.items():
            errors = {
                "error": relative(found - after, after),
                "error_of_change": relative(found - after, after - before),
            }
            yield {"aggregation": aggregation, "part": part, "layer": None, "holders": len(own), **errors}
