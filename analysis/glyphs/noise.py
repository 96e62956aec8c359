"""Random tensors of one seeded stream."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Noise:
    """Random numbers of one generator, so that a data set is a function of its seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on [low, high)."""
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=self.generator)

    def choice(self, options: list[int]) -> int:
        """One of the options, equally likely."""
        return options[int(torch.randint(len(options), (), generator=self.generator))]

    def field(self, shape: tuple[int, int, int, int], cells: int) -> Tensor:
        """Smooth random field in about [0, 1]: a coarse grid of `cells` x `cells` interpolated to `shape`."""
        count, channels, height, width = shape
        coarse = self.uniform(0, 1, count, channels, cells, cells)
        return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)


def affine_grid(
    noise: Noise, shape: torch.Size, *, degrees: float, scale: float, shift: float, shear: float, perspective: float = 0
) -> Tensor:
    """Sampling grids (n, height, width, 2) of one random affine or perspective map for each image.

    Args:
        noise: source of randomness.
        shape: shape of the images, (n, c, height, width).
        degrees: largest rotation.
        scale: largest relative change of either axis; images shrink by half of it on average.
        shift: largest translation, where the image spans [-1, 1].
        shear: largest horizontal shear.
        perspective: largest perspective coefficient.
    """
    count, _, height, width = shape
    angle = noise.uniform(-degrees, degrees, count) * math.pi / 180
    size = 1 + noise.uniform(-scale, scale, count, 2) + scale / 2
    slant = noise.uniform(-shear, shear, count)
    matrix = torch.zeros(count, 3, 3)
    matrix[:, 0, 0] = angle.cos() * size[:, 0]
    matrix[:, 0, 1] = (slant - angle.sin()) * size[:, 1]
    matrix[:, 1, 0] = angle.sin() * size[:, 0]
    matrix[:, 1, 1] = angle.cos() * size[:, 1]
    matrix[:, :2, 2] = noise.uniform(-shift, shift, count, 2)
    matrix[:, 2, :2] = noise.uniform(-perspective, perspective, count, 2)
    matrix[:, 2, 2] = 1
    y, x = pixel_axes(height, width)
    points = torch.stack([x, y, torch.ones_like(x)], -1).view(1, -1, 3) @ matrix.transpose(1, 2)
    return (points[..., :2] / points[..., 2:]).view(count, height, width, 2)


def pixel_axes(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel centres in [-1, 1]: y [height, width] and x [height, width]."""
    y = torch.linspace(-1 + 1 / height, 1 - 1 / height, height)
    x = torch.linspace(-1 + 1 / width, 1 - 1 / width, width)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return grid_y, grid_x
