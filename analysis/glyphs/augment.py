"""Moved and coloured copies of glyphs, for pretraining."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_DEGREES = 12.0
_MAX_SCALE = 0.15
_MAX_SHIFT = 0.1
_MAX_SHEAR = 0.1
_MAX_TINT = 0.5


class Random:
    """Uniform numbers of one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def symmetric(self, bound: float, *shape: int) -> Tensor:
        """Uniform on [-bound, bound)."""
        return (torch.rand(*shape, generator=self.generator) * 2 - 1) * bound

    def unit(self, *shape: int) -> Tensor:
        """Uniform on [0, 1)."""
        return torch.rand(*shape, generator=self.generator)


def augment(images: Tensor, random: Random, inversion: float) -> Tensor:
    """Randomly moved and coloured copies of images.

    Args:
        images: Black on white (n, 3, height, width), uint8.
        random: The source of randomness.
        inversion: Probability of light ink on dark paper.

    Returns:
        Images of the same shape, floats in [-1, 1].
    """
    count = len(images)
    ink = 1 - images.float() / 255
    angle = random.symmetric(_MAX_DEGREES * math.pi / 180, count)
    scale = 1 + random.symmetric(_MAX_SCALE, count, 2)
    shear = random.symmetric(_MAX_SHEAR, count)
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0] = angle.cos() * scale[:, 0]
    matrix[:, 0, 1] = (shear - angle.sin()) * scale[:, 1]
    matrix[:, 1, 0] = angle.sin() * scale[:, 0]
    matrix[:, 1, 1] = angle.cos() * scale[:, 1]
    matrix[:, :, 2] = random.symmetric(_MAX_SHIFT, count, 2)
    ink = F.grid_sample(ink, F.affine_grid(matrix, list(ink.shape), align_corners=False), align_corners=False)
    paper = 1 - _MAX_TINT * random.unit(count, 3, 1, 1) * random.unit(count, 1, 1, 1)
    colour = _MAX_TINT * random.unit(count, 3, 1, 1) * random.unit(count, 1, 1, 1)
    inverted = (random.unit(count, 1, 1, 1) < inversion).float()
    image = paper * (1 - ink) + colour * ink
    return (image + inverted * (1 - 2 * image)) * 2 - 1
