"""Six ways to render a glyph, the domains of the benchmark.

A renderer takes ink (n, 1, 64, 64) in [0, 1] and returns RGB (n, 3, 32, 32), not yet clipped to [0, 1].
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.glyphs.noise import Noise, affine_grid, pixel_axes

SIDE = 32
"""Side of a rendered image in pixels."""

_LUMINANCE = torch.tensor([0.3, 0.59, 0.11]).view(1, 3, 1, 1)


def _warp(ink: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(ink, grid, align_corners=False)


def _shrink(image: Tensor) -> Tensor:
    return F.interpolate(image, size=(SIDE, SIDE), mode="area")


def _blend(ink: Tensor, colour: Tensor, paper: Tensor) -> Tensor:
    return paper * (1 - ink) + colour * ink


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with its own sigma (n,) for each image, in pixels."""
    count, channels, height, width = image.shape
    offsets = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.view(-1, 1) ** 2 + 1e-6))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(image.reshape(1, count * channels, height, width), (4,) * 4, mode="replicate")
    flat = F.conv2d(flat, kernel.view(-1, 1, 1, 9), groups=count * channels)
    flat = F.conv2d(flat, kernel.view(-1, 1, 9, 1), groups=count * channels)
    return flat.view(count, channels, height, width)


def print_on_paper(ink: Tensor, noise: Noise) -> Tensor:
    """Dark letters on tinted paper: what pretraining sees, in other characters."""
    n = len(ink)
    grid = affine_grid(noise, ink.shape, degrees=4, scale=0.06, shift=0.05, shear=0.06)
    shape = _shrink(_warp(ink, grid))
    image = _blend(shape, noise.uniform(0, 0.25, n, 1, 1, 1), noise.uniform(0.8, 1, n, 3, 1, 1))
    return image + 0.02 * noise.normal(n, 3, SIDE, SIDE)


def outline(ink: Tensor, noise: Noise) -> Tensor:
    """The contour alone, light on dark."""
    n = len(ink)
    grid = affine_grid(noise, ink.shape, degrees=6, scale=0.06, shift=0.05, shear=0.08)
    mask = (_warp(ink, grid) > 0.5).float()
    edge = F.max_pool2d(mask, 3, 1, 1) + F.max_pool2d(-mask, 3, 1, 1)
    image = _blend(
        (_shrink(edge) * 1.2).clamp(0, 1), noise.uniform(0.6, 1, n, 3, 1, 1), noise.uniform(0, 0.3, n, 3, 1, 1)
    )
    return image + 0.02 * noise.normal(n, 3, SIDE, SIDE)


def texture(ink: Tensor, noise: Noise) -> Tensor:
    """Letter and ground are two coloured textures; either may be the lighter one."""
    n = len(ink)
    grid = affine_grid(noise, ink.shape, degrees=6, scale=0.06, shift=0.05, shear=0.08)
    height, width = ink.shape[2:]
    first, second = (
        torch.cat([noise.field((1, 3, height, width), noise.choice([3, 5, 8, 16])) for _ in range(n)]) for _ in range(2)
    )
    colour = noise.normal(n, 3, 1, 1)
    colour = colour / colour.norm(dim=1, keepdim=True)
    lighter = (colour * _LUMINANCE).sum(1, keepdim=True).sign()
    step = colour * noise.uniform(0.3, 0.6, n, 1, 1, 1) + 0.35 * lighter
    middle = noise.uniform(0.3, 0.7, n, 3, 1, 1)
    ground = middle - step / 2 + 0.35 * (second - 0.5)
    letter = middle + step / 2 + 0.35 * (first - 0.5)
    return _shrink(_blend(_warp(ink, grid), letter, ground)) + 0.02 * noise.normal(n, 3, SIDE, SIDE)


def hand(ink: Tensor, noise: Noise) -> Tensor:
    """A wavering pen of varying width in a coloured ink."""
    n = len(ink)
    grid = affine_grid(noise, ink.shape, degrees=7, scale=0.08, shift=0.05, shear=0.12)
    bend = F.interpolate(noise.normal(n, 2, 5, 5), size=ink.shape[2:], mode="bicubic", align_corners=False)
    soft = _blur(_warp(ink, grid + 0.03 * bend.permute(0, 2, 3, 1)), torch.full((n,), 1.2))
    soft = soft / soft.amax((1, 2, 3), keepdim=True).clamp(min=0.2)
    stroke = ((soft - 0.45 + noise.uniform(-0.08, 0.12, n, 1, 1, 1)) * 4 + 0.5).clamp(0, 1)
    colour = noise.uniform(0, 1, n, 3, 1, 1) * torch.tensor([0.35, 0.35, 0.7]).view(1, 3, 1, 1)
    image = _blend(_shrink(stroke), colour, noise.uniform(0.8, 1, n, 3, 1, 1))
    return image + 0.03 * noise.normal(n, 3, SIDE, SIDE)


def pixel(ink: Tensor, noise: Noise) -> Tensor:
    """Bright letters of 11 to 14 coarse pixels on a dark screen."""
    n = len(ink)
    warped = _warp(ink, affine_grid(noise, ink.shape, degrees=2, scale=0.04, shift=0.03, shear=0.03))
    shapes = []
    for letter in warped.split(1):
        cells = F.interpolate(letter, size=(noise.choice([11, 12, 13, 14]),) * 2, mode="area")
        cells = ((cells / cells.amax().clamp(min=0.2) - 0.45) * 6 + 0.5).clamp(0, 1)
        shapes.append(F.interpolate(cells, size=(SIDE, SIDE), mode="nearest"))
    image = _blend(torch.cat(shapes), noise.uniform(0.4, 1, n, 3, 1, 1), noise.uniform(0, 0.22, n, 3, 1, 1))
    return image + 0.02 * noise.normal(n, 3, SIDE, SIDE)


def photo(ink: Tensor, noise: Noise) -> Tensor:
    """A sign photographed at an angle: perspective, uneven light, cast shadow, blur, sensor noise."""
    n = len(ink)
    grid = affine_grid(noise, ink.shape, degrees=8, scale=0.08, shift=0.05, shear=0.08, perspective=0.12)
    bright = noise.uniform(0.5, 0.95, n, 3, 1, 1)
    dark = bright * noise.uniform(0.05, 0.4, n, 1, 1, 1)
    swap = (noise.uniform(0, 1, n, 1, 1, 1) < 0.5).float()
    image = _blend(_warp(ink, grid), _blend(swap, bright, dark), _blend(swap, dark, bright))
    y, x = pixel_axes(*ink.shape[2:])
    direction = noise.uniform(0, 2 * math.pi, n, 1, 1, 1)
    light = 1 + noise.uniform(0.1, 0.3, n, 1, 1, 1) * (direction.cos() * x + direction.sin() * y)
    shadow = (noise.field((n, 1, *ink.shape[2:]), 3) > 0.62).float()
    image = _blur(image * light * (1 - 0.3 * shadow), noise.uniform(0.6, 1.5, n))
    return _shrink(image) * noise.uniform(0.8, 1.2, n, 1, 1, 1) + 0.03 * noise.normal(n, 3, SIDE, SIDE)


DOMAINS: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "print": print_on_paper,
    "outline": outline,
    "texture": texture,
    "hand": hand,
    "pixel": pixel,
    "photo": photo,
}
"""The six domains by name, in the order of the data set."""
