"""Accuracy of a global model on one shard of a domain's examples at a time, without Ray."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fedra_ray.data.feeding import AnyExamples
from fedra_ray.federation.messages import Score
from fedra_ray.methods.method import Method
from fedra_ray.model.submodel import SubModel


def evaluate(
    model: SubModel,
    method: Method,
    examples: AnyExamples,
    values: NDArray[np.float32],
    domain: str,
    batch_size: int,
) -> Score:
    """Top-1, top-5 and cross entropy of the method's prediction.

    Args:
        model: The shared stack; on return it holds the global values.
        method: Gives the prediction.
        examples: The examples, all of one domain.
        values: The global adapter, the full flat vector.
        domain: Name of the domain, for the score.
        batch_size: Examples per forward pass.

    Returns:
        Counts of hits and the mean loss over the examples that could be read; a loss of 0 if there are none.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    model.load(values, range(len(model.layout.entries)))
    model.eval()
    count = top1 = top5 = 0
    loss = 0.0
    with torch.inference_mode():
        for batch in examples.batches(examples.in_turn(batch_size)):
            expected = batch.labels
            scores = method.predict(model, batch.inputs)
            ranks = scores.argsort(dim=1, descending=True, stable=True)[:, :5]
            hits = ranks == expected[:, None]
            count += len(expected)
            top1 += int(hits[:, 0].sum())
            top5 += int(hits.sum())
            loss += float(functional.cross_entropy(scores, expected, reduction="sum"))
    return Score(domain, examples.split, count, top1, top5, loss / max(1, count), tuple(sorted(examples.skipped)))
