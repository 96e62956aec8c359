"""Accuracy of a global model on one domain. No Ray."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedra_ray.messages import Score
from fedra_ray.methods.method import Method
from fedra_ray.submodel import SubModel


def evaluate(
    model: SubModel,
    method: Method,
    images: Tensor,
    labels: Tensor,
    values: NDArray[np.float32],
    domain: str,
    split: str,
    batch_size: int,
) -> Score:
    """Top-1, top-5 and cross entropy of the method's prediction.

    Args:
        model: The shared stack; on return it holds the global values.
        method: Gives the prediction.
        images: Normalised images (examples, 3, H, W).
        labels: Labels (examples,).
        values: The global adapter, flat.
        domain: Name for the score.
        split: Name for the score.
        batch_size: Images a forward pass.
    """
    model.load(values, range(len(model.layout.entries)))
    model.eval()
    top1 = top5 = 0
    loss = 0.0
    with torch.inference_mode():
        for batch, expected in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            scores = method.predict(model, batch)
            ranks = scores.argsort(dim=1, descending=True, stable=True)[:, :5]
            hits = ranks == expected[:, None]
            top1 += int(hits[:, 0].sum())
            top5 += int(hits.sum())
            loss += float(functional.cross_entropy(scores, expected, reduction="sum"))
    return Score(domain, split, len(images), top1, top5, loss / max(1, len(images)))
