"""Labelled images as training and evaluation take them: in normalised batches, decoded one batch ahead."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.data.image import Pixels
from fedra_ray.data.source import ImageSource, Skipped
from fedra_ray.model.submodel import Batch

Indices = NDArray[np.int64]


@dataclass
class Examples:
    """Labelled images of one client, or of one domain's evaluation.

    Attributes:
        source: The source of the images.
        split: train, validation or test.
        parts: Pairs of a domain and indices of images within its split.
        mean: Mean (3, 1, 1) by channel of pixel values in [0, 1], on the device to compute on.
        std: Standard deviation (3, 1, 1) of the same.
        skipped: Images that have been left out so far because they cannot be read.
    """

    source: ImageSource
    split: str
    parts: Sequence[tuple[str, Indices]]
    mean: Tensor
    std: Tensor
    skipped: set[Skipped] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._part = np.repeat(np.arange(len(self.parts)), [len(indices) for _, indices in self.parts])
        self._index = np.concatenate([indices for _, indices in self.parts])
        dataset = self.source.dataset
        self._labels = np.concatenate([dataset.labels(domain, self.split)[indices] for domain, indices in self.parts])

    def __len__(self) -> int:
        return len(self._index)

    def in_turn(self, batch_size: int) -> list[Indices]:
        """Positions of batches that go through all images once, in their order."""
        return in_turn(len(self), batch_size)

    def batches(self, order: Sequence[Indices]) -> Iterator[Batch]:
        """Normalised images (n, 3, H, W) and labels (n,) of every array of positions, without the unreadable ones.

        The next batch is decoded while the one before is computed with.

        Raises:
            ImageError: for an image that cannot be read, unless the configuration says to skip it.
        """
        self.source.dataset.expect(self._requests(order))
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._batch, positions) for positions in order[:1]]
            for number in range(len(order)):
                images, labels = ahead.pop().result()
                ahead = [pool.submit(self._batch, positions) for positions in order[number + 1 : number + 2]]
                if len(labels):
                    pixels = self._copied(torch.from_numpy(images))
                    shares = pixels if pixels.is_floating_point() else pixels.float() / 255
                    yield Batch((shares - self.mean) / self.std, self._copied(torch.from_numpy(labels)))

    def _requests(self, order: Sequence[Indices]) -> Iterator[tuple[str, str, Indices]]:
        """Domain, split and indices of what the batches ask for, in order."""
        for positions in order:
            owners = self._part[positions]
            for owner in np.unique(owners):
                yield self.parts[owner][0], self.split, self._index[positions[owners == owner]]

    def _copied(self, values: Tensor) -> Tensor:
        """The values on the device. They go to a GPU from pinned memory, so that it computes meanwhile."""
        device = self.mean.device
        return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)

    def _batch(self, positions: Indices) -> tuple[Pixels, Indices]:
        """Pixels (n, 3, H, W) and labels (n,) of the readable images, in the order of positions."""
        owners = self._part[positions]
        images: Pixels = np.empty(0, dtype=np.uint8)
        good = np.ones(len(positions), dtype=bool)
        for owner in np.unique(owners):
            chosen = owners == owner
            key = self.parts[owner][0], self.split
            fetched, good[chosen], skipped = self.source.fetch(key, self._index[positions[chosen]])
            if not len(images):
                images = np.empty((len(positions), *fetched.shape[1:]), dtype=fetched.dtype)
            images[chosen] = fetched
            self.skipped.update(skipped)
        return images[good], self._labels[positions][good]


def in_turn(count: int, batch_size: int) -> list[Indices]:
    """Positions of batches that go through `count` images once, in their order."""
    return np.split(np.arange(count), range(batch_size, count, batch_size))
