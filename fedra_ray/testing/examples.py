"""Training or test examples given as tensors, in place of images in files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.data.examples import in_turn
from fedra_ray.model.submodel import Batch


@dataclass
class Given:
    """Stands in for `data.examples.Examples` where a model is trained or evaluated.

    Attributes:
        images: Normalised images (examples, 3, height, width), float32.
        labels: Class indices (examples,), int64.
        split: Name of the split that scores report.
        skipped: Name and error of every image that counts as unreadable; they are not among `images`.
    """

    images: Tensor
    labels: Tensor
    split: str = "test"
    skipped: frozenset[tuple[str, str]] = frozenset()

    def __len__(self) -> int:
        return len(self.images)

    def in_turn(self, batch_size: int) -> list[NDArray[np.int64]]:
        """Positions of batches that go through all examples once, in their order."""
        return in_turn(len(self), batch_size)

    def batches(self, order: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """Images and labels at these positions, one batch after another."""
        return (Batch(self.images[positions], self.labels[positions]) for positions in order)
