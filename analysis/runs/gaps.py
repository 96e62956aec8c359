"""How far outputs of aggregated factors are from the mean of the clients' outputs, by layer and end to end."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from analysis.runs.aggregates import Aggregate, factors_at, places
from analysis.runs.factors import AGGREGATIONS, Array, Factors, relative
from analysis.runs.tuned import Held, Tuned
from fedra_ray.federation.state import Vector

_ROWS = 1024  # input vectors per layer: more than any token width of a small model, and little memory in a large one


def branch_gaps(
    held: Mapping[str, Held], before: Mapping[str, Factors], inputs: Mapping[str, Array]
) -> dict[str, tuple[float, float]]:
    """Error of a layer's aggregated branches against the mean of its holders' branches, by aggregation.

    The scaling s stands on both sides of the ratios and drops out.

    Args:
        held: By place, the factors of the holders.
        before: By place, the factors that the holders began with.
        inputs: By place, the inputs of its layer (rows, inputs).

    Returns:
        By aggregation, the norm of the difference over all places, relative to the mean outputs and to their change.
    """
    mean = _flat({place: holders.mean_output(inputs[place]) for place, holders in held.items()})
    change = mean - _flat({place: before[place].output(inputs[place]) for place in held})
    errors = {}
    for aggregation in AGGREGATIONS:
        factors = {place: holders.aggregated[aggregation] for place, holders in held.items()}
        gap = _flat({place: factors[place].output(inputs[place]) for place in held}) - mean
        errors[aggregation] = relative(gap, mean), relative(gap, change)
    return errors


def _flat(outputs: Mapping[str, Array]) -> Array:
    """All values of all places."""
    return np.concatenate([values.ravel() for values in outputs.values()])


def layer_gaps(tuned: Tuned, images: Tensor) -> Iterator[dict[str, Any]]:
    """The gap of every evaluated layer's own output, by aggregation; 0 where nobody holds the layer."""
    replay = tuned.replay
    layers = tuned.replay.method.evaluated_layers
    model = Aggregate(replay, 1)
    model.load(tuned.values)
    inputs = model.inputs(images, layers, _ROWS)
    for layer in layers:
        held = {place: tuned.held[place] for place in places(replay, layer) if place in tuned.held}
        before = {place: factors_at(replay, tuned.values, place) for place in held}
        gaps = branch_gaps(held, before, inputs) if held else dict.fromkeys(AGGREGATIONS, (0.0, 0.0))
        for aggregation, (error, of_change) in gaps.items():
            place = {"aggregation": aggregation, "part": "layer", "layer": layer + 1}
            yield {**place, "holders": len(tuned.holders(layer)), "error": error, "error_of_change": of_change}


def score_gaps(tuned: Tuned, images: Tensor) -> Iterator[dict[str, Any]]:
    """The gap of class scores, by aggregation: from clients in the full model, and from their sub-models."""
    layers = tuned.replay.method.evaluated_layers
    own = [update.task.layers for update in tuned.updates]
    model = Aggregate(tuned.replay, len(own))

    def scores(values: Vector, held: tuple[int, ...], instead: Mapping[str, Factors] | None = None) -> Array:
        model.load(values, instead)
        return model.logits(images, held)

    def mean(of_clients: Sequence[Array]) -> Array:
        return np.tensordot(tuned.shares, of_clients, axes=1)

    means = {  # after the round, and before it
        "scores": (mean([scores(values, layers) for values in tuned.clients]), scores(tuned.values, layers)),
        "sub-models": (
            mean([scores(values, held) for values, held in zip(tuned.clients, own, strict=True)]),
            mean([scores(tuned.values, held) for held in own]),
        ),
    }
    heads = tuned.mean_heads()  # linear in the features: their mean is right for every way to aggregate factors
    for aggregation in AGGREGATIONS:
        aggregated = {place: holders.aggregated[aggregation] for place, holders in tuned.held.items()}
        whole = scores(heads, layers, aggregated)
        for part, (after, before) in means.items():
            errors = {
                "error": relative(whole - after, after),
                "error_of_change": relative(whole - after, after - before),
            }
            yield {"aggregation": aggregation, "part": part, "layer": None, "holders": len(own), **errors}
