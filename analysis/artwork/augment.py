"""Moved copies of drawings."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Strength:
    """How far copies may differ.

    Attributes:
        degrees: Largest rotation.
        scale: Largest relative change of size.
        shift: Largest shift, as a share of half the side.
    """

    degrees: float = 12.0
    scale: float = 0.15
    shift: float = 0.1


def augment(images: Tensor, side: int, generator: torch.Generator, strength: Strength) -> Tensor:
    """Randomly mirrored and moved copies on white paper, in their own colours: other papers are left to the benchmark.

    Args:
        images: (n, 3, height, width), uint8.
        side: Side of the copies in pixels.
        generator: The source of randomness.
        strength: How far they may differ.

    Returns:
        Floats (n, 3, side, side) in [0, 1].
    """
    count = len(images)

    def unit(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    angle = (2 * unit(count) - 1) * strength.degrees * math.pi / 180
    scale = 1 + (2 * unit(count) - 1) * strength.scale
    mirror = 1 - 2 * (unit(count) < 0.5).float()
    matrix = torch.zeros(count, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos() * scale * mirror, -angle.sin() * scale
    matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin() * scale * mirror, angle.cos() * scale
    matrix[:, :, 2] = (2 * unit(count, 2) - 1) * strength.shift
    ink = 1 - images.float() / 255
    if ink.shape[-1] != side:
        ink = F.interpolate(ink, size=(side, side), mode="bilinear", antialias=True)
    return 1 - F.grid_sample(ink, F.affine_grid(matrix, list(ink.shape), align_corners=False), align_corners=False)
