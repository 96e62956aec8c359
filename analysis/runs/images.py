"""Images of every domain, as a run itself reads and normalises them."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from analysis.runs.replay import Replay
from fedra_ray.data.examples import in_turn


def batches(replay: Replay, split: str, per_domain: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Images of a split, one domain after another, the same ones every time.

    Args:
        replay: The run.
        split: train, validation or test.
        per_domain: The most images of a domain; from a larger one this number is drawn uniformly, by a fixed seed.

    Yields:
        The domain's index, normalised images (n, 3, H, W) and labels (n,); n is the run's evaluation.batch_size or
        what is left of the domain.

    Raises:
        ImageError: for an image that cannot be read, unless the configuration says to skip it.
    """
    dataset = replay.blueprint.dataset
    size = replay.run.config.evaluation.batch_size
    for index, domain in enumerate(replay.blueprint.domains):
        count = len(dataset.labels(domain, split))
        drawn = np.sort(np.random.default_rng(0).permutation(count)[:per_domain])
        examples = replay.host.examples(split, [(domain, drawn)])
        for images, labels in examples.batches(in_turn(len(examples), size)):
            yield index, images, labels
