"""Draws the benchmark and writes it as Parquet."""

import io
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.artwork.concepts import CLASSES, Emoji, class_of
from analysis.artwork.icons import IconSet
from analysis.artwork.split import grouped, near_pairs, split_groups, thumbnail
from analysis.artwork.styles import DOMAINS
from analysis.image_rows import Row

MOST = {"train": 36, "validation": 6, "test": 14}
"""Most images of one class in one domain. Training images that are missing are moved copies; others are not copied."""


def encode(image: Image.Image) -> bytes:
    """Lossless WebP of an image."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


class Drawings:
    """Every drawing of the classes' emoji, by domain, at twice the size of the images.

    Args:
        archives: Archives of the packages by their short names.
        emoji: All emoji.
    """

    def __init__(self, archives: Mapping[str, Path], emoji: Sequence[Emoji]) -> None:
        self.classes: dict[str, str] = {}
        self.images: dict[tuple[str, str], list[tuple[str, Image.Image]]] = defaultdict(list)
        sets = {domain: IconSet(archives[style.package]) for domain, style in DOMAINS.items()}
        for one in emoji:
            name = class_of(one)
            if name is None or self.classes.get(one.concept, name) != name:
                continue
            for domain, style in DOMAINS.items():
                drawing = sets[domain].find(one.hexcode, one.label)
                if drawing is not None:
                    self.classes[one.concept] = name
                    image = style.enlarged(sets[domain].svg(drawing, style.ink))
                    self.images[domain, one.concept].append((f"{style.package}/{drawing}|{one.concept}", image))

    def is_everywhere(self, concept: str) -> bool:
        """Whether every domain draws a concept."""
        return all((domain, concept) in self.images for domain in DOMAINS)

    def groups(self) -> list[list[str]]:
        """Concepts that must stay together: some of their drawings nearly equal each other."""
        hashes, concepts = [], []
        for (domain, concept), drawn in self.images.items():
            for _, image in drawn:
                hashes.append(thumbnail(DOMAINS[domain].finished(image)))
                concepts.append(concept)
        pairs = near_pairs(np.stack(hashes))
        return grouped(list(self.classes), ((concepts[first], concepts[second]) for first, second in pairs))


def benchmark_rows(drawings: Drawings, seed: int) -> list[Row]:
    """The rows of the benchmark, a function of the drawings and the seed."""
    strata = {concept: (name, drawings.is_everywhere(concept)) for concept, name in drawings.classes.items()}
    split = split_groups(strata, drawings.groups(), random.Random(seed))
    rows: list[Row] = []
    for domain, style in DOMAINS.items():
        for part, most in MOST.items():
            for label, name in enumerate(CLASSES):
                rng = random.Random(f"{seed} {domain} {part} {name}")
                concepts = [c for c, own in drawings.classes.items() if own == name and split[c] == part]
                found = [pair for concept in concepts for pair in drawings.images.get((domain, concept), ())]
                chosen = rng.sample(found, min(most, len(found)))
                images = [(source, style.finished(image)) for source, image in chosen]
                for index in range(most - len(chosen) if part == "train" else 0):
                    source, image = chosen[index % len(chosen)]
                    images.append((source, style.finished(style.moved(image, rng))))
                rows += [(encode(image), label, name, domain, part, source) for source, image in images]
    return rows
