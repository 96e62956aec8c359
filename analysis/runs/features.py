"""What a head could read after every block of a run's global model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.runs.images import batches
from analysis.runs.replay import Replay
from fedra_ray.federation.state import Vector
from fedra_ray.model.submodel import SubModel

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Features:
    """Features of images of all domains after every block.

    Attributes:
        values: (layers + 1, images, width); entry n is read after the first n layers, through the final norm and the
            pooling of the backbone, as DepthFL's exits read it.
        labels: Class of each image (images,).
        domains: Index of each image's domain (images,).
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]


def features(replay: Replay, values: Vector, split: str, per_domain: int) -> Features:
    """Features of images of a split in the full evaluated model.

    Args:
        replay: The run; its method says which layers are evaluated.
        values: A global adapter, the full flat vector.
        split: train, validation or test.
        per_domain: The most images of a domain, drawn as `analysis.runs.images.batches` does.
    """
    model = replay.model
    layers = replay.method.evaluated_layers
    model.load(values, [])
    parts, labels, domains = [], [], []
    with torch.inference_mode():
        for domain, images, classes in batches(replay, split, per_domain):
            parts.append(_after_every_block(model, images, layers).numpy())
            labels.append(classes.numpy())
            domains.append(np.full(len(classes), domain))
    return Features(np.concatenate(parts, axis=1), np.concatenate(labels), np.concatenate(domains))


def _after_every_block(model: SubModel, images: Tensor, layers: tuple[int, ...]) -> Tensor:
    """Features (layers + 1, images, width) of a batch."""
    inputs = model.embed(images)
    readouts = [model.readout(inputs.tokens, inputs.marks)]
    for layer in layers:
        inputs = inputs.after(model.blocks[layer])
        readouts.append(model.readout(inputs.tokens, inputs.marks))
    return torch.stack(readouts)
