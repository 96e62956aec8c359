"""Renders the benchmark and the pretraining set and writes them as Parquet."""

import io
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.glyphs.alphabet import common_characters
from analysis.glyphs.collect import CLASSES, SPLITS, Glyph, draw_all, drop_near_duplicates, pick, split_lineages
from analysis.glyphs.domains import DOMAINS, SIDE
from analysis.glyphs.fonts import Font
from analysis.glyphs.noise import Noise
from analysis.image_rows import Row

COUNTS = {"train": 48, "validation": 10, "test": 14}
"""Images of one class in one domain."""

PRETRAIN_FONTS = 45
"""Most images of one pretraining character."""

_QUALITY = 88
"""WebP quality of the benchmark."""


def encode(image: Tensor) -> bytes:
    """WebP of one image (3, SIDE, SIDE) in [0, 1]."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()


def _stack(glyphs: Sequence[Glyph]) -> Tensor:
    """The ink of glyphs as one tensor (n, 1, 64, 64) in [0, 1]."""
    return torch.from_numpy(np.stack([glyph.ink for glyph in glyphs])).float().div(255)[:, None]


def _choose(glyphs: Sequence[Glyph], domain: str, count: int, rng: random.Random) -> list[Glyph]:
    """Glyphs of one class for a domain: text fonts; for "hand" half of them handwriting."""
    text = [glyph for glyph in glyphs if glyph.style == "text"]
    if domain != "hand":
        return pick(text, count, rng)
    written = [glyph for glyph in glyphs if glyph.style == "hand"]
    return pick(written, count // 2, rng) + pick(text, count - count // 2, rng)


def benchmark_rows(fonts: Sequence[Font], seed: int) -> list[Row]:
    """The rows of the six-domain benchmark, a function of the fonts and the seed."""
    rng = random.Random(seed)
    noise = Noise(seed)
    names = list(CLASSES)
    labels = {c: index for index, name in enumerate(names) for c in CLASSES[name]}
    glyphs = draw_all((font for font in fonts if font.package.style != "other"), labels)
    lineages = split_lineages(glyphs, rng)
    cells: dict[tuple[str, int], list[Glyph]] = defaultdict(list)
    for glyph in drop_near_duplicates(glyphs, lineages):
        cells[lineages[glyph.lineage], glyph.label].append(glyph)
    rows: list[Row] = []
    for domain, render in DOMAINS.items():
        for split in SPLITS:
            for label, name in enumerate(names):
                chosen = _choose(cells[split, label], domain, COUNTS[split], rng)
                images = render(_stack(chosen), noise)
                pairs = zip(images, chosen, strict=True)
                rows += [(encode(image), label, name, domain, split, glyph.source) for image, glyph in pairs]
    return rows


def pretrain_rows(fonts: Sequence[Font], seed: int, characters: int) -> list[Row]:
    """Rows of plain dark-on-white glyphs of the commonest `characters` of other scripts; 5 % are for validation."""
    rng = random.Random(seed)
    names = common_characters(fonts, characters)
    groups: dict[int, list[Glyph]] = defaultdict(list)
    for glyph in draw_all(fonts, {c: index for index, c in enumerate(names)}):
        groups[glyph.label].append(glyph)
    rows: list[Row] = []
    for label, group in sorted(groups.items()):
        for glyph in rng.sample(group, min(PRETRAIN_FONTS, len(group))):
            image = 1 - torch.nn.functional.interpolate(_stack([glyph]), size=(SIDE, SIDE), mode="area")[0]
            split = "validation" if rng.random() < 0.05 else "train"
            rows.append((encode(image.expand(3, -1, -1)), label, names[label], "glyph", split, glyph.source))
    return rows
