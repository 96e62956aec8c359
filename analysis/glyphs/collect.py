"""Collects drawn glyphs and splits them by lineage."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.glyphs.draw import draw, load
from analysis.glyphs.fonts import Font

CLASSES: dict[str, str] = {letter: letter for letter in "23456789ABCDEFGHIJKLMNOPQRSTUVWXYZ&?"}
"""Label name -> the characters that show it. 0 and 1 are missing: alone they look like O and I."""

SPLITS = ("train", "validation", "test")
_SHARE = 0.2
"""Share of the lineages that validation takes, and test as well."""

NEAR = 2e-3
"""Mean squared difference (of ink in [0, 1]) under which two glyphs count as the same."""


@dataclass(frozen=True)
class Glyph:
    """One drawn character.

    Attributes:
        ink: (64, 64), 0 paper, 255 ink.
        label: index of its class in CLASSES, or of its character in the pretraining alphabet.
        style: "text", "hand" or "other".
        lineage: group of packages that must stay in one split.
        source: "lineage/font name|character".
    """

    ink: NDArray[np.uint8]
    label: int
    style: str
    lineage: str
    source: str


def draw_all(fonts: Iterable[Font], labels: dict[str, int]) -> list[Glyph]:
    """Every character of `labels` in every font that has it; equal pictures only once per lineage and label."""
    glyphs: list[Glyph] = []
    seen: set[tuple[str, int, bytes]] = set()
    for font in fonts:
        wanted = sorted(font.characters & labels.keys())
        face = load(font.path) if wanted else None
        if face is None:
            continue
        for character in wanted:
            ink = draw(face, character)
            lineage = font.package.lineage
            label = labels[character]
            if ink is None or (key := (lineage, label, ink.tobytes())) in seen:
                continue
            seen.add(key)
            source = f"{lineage}/{font.name}|{character}"
            glyphs.append(Glyph(ink, label, font.package.style, lineage, source))
    return glyphs


def split_lineages(glyphs: Sequence[Glyph], rng: random.Random) -> dict[str, str]:
    """The split of every lineage by its name, drawn within each style."""
    split: dict[str, str] = {}
    for style in sorted({glyph.style for glyph in glyphs}):
        names = sorted({glyph.lineage for glyph in glyphs if glyph.style == style})
        rng.shuffle(names)
        held = max(2, round(_SHARE * len(names)))
        for index, name in enumerate(names):
            split[name] = "validation" if index < held else "test" if index < 2 * held else "train"
    return split


def _vectors(glyphs: Sequence[Glyph]) -> NDArray[np.float32]:
    """Ink at half resolution, (n, 1024), in [0, 1]."""
    ink = np.stack([glyph.ink for glyph in glyphs]).astype(np.float32) / 255
    return ink.reshape(len(ink), 32, 2, 32, 2).mean((2, 4)).reshape(len(ink), -1)


def distances(queries: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared difference of each query (n, d) to its nearest reference (m, d), (n,)."""
    squares = (queries**2).sum(1)[:, None] + (references**2).sum(1) - 2 * queries @ references.T
    nearest: NDArray[np.float32] = squares.min(1) / queries.shape[1]
    return nearest


def drop_near_duplicates(glyphs: Sequence[Glyph], split: dict[str, str]) -> list[Glyph]:
    """The glyphs without those of validation and test that nearly equal a training glyph of their class."""
    kept: list[Glyph] = []
    for label in sorted({glyph.label for glyph in glyphs}):
        group = [glyph for glyph in glyphs if glyph.label == label]
        train = [glyph for glyph in group if split[glyph.lineage] == "train"]
        held = [glyph for glyph in group if split[glyph.lineage] != "train"]
        near = (distances(_vectors(held), _vectors(train)) < NEAR).tolist() if held else []
        kept += train + [glyph for glyph, drop in zip(held, near, strict=True) if not drop]
    return kept


def pick(glyphs: Sequence[Glyph], count: int, rng: random.Random) -> list[Glyph]:
    """`count` glyphs, one lineage after another in turn; glyphs repeat only if there are too few.

    Raises:
        ValueError: if there are none.
    """
    groups: dict[str, list[Glyph]] = defaultdict(list)
    for glyph in glyphs:
        groups[glyph.lineage].append(glyph)
    if not groups:
        raise ValueError("no glyph left to pick from: are the font packages installed?")
    queues = [rng.sample(group, len(group)) for _, group in sorted(groups.items())]
    rng.shuffle(queues)
    ordered = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return [ordered[index % len(ordered)] for index in range(count)]
