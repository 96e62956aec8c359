"""Draws the benchmark and writes it as Parquet."""

import io
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.artwork.concepts import CLASSES, class_of, is_toned, said
from analysis.artwork.draw import draw
from analysis.artwork.icons import IconSet
from analysis.artwork.packages import Package
from analysis.artwork.split import grouped, near_pairs, split_groups, thumbnail
from analysis.artwork.styles import DOMAINS, ENLARGED
from analysis.image_rows import Row

MOST = {"train": 44, "validation": 8, "test": 20}
"""Most images of one class in one domain. Training images that are missing are moved copies; others are not copied."""

_DRAWN = 72  # different drawings of a class in a domain, of which the splits are made


def encode(image: Image.Image) -> bytes:
    """Lossless WebP of an image."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def named(package: Package, name: str) -> str:
    """What must not be in two splits: everything that one vendor calls the same, in whatever weight and manner."""
    return f"{package.author}: {said(name)}"


def listed(
    domain: str, packages: Mapping[str, Package], icons: Mapping[str, IconSet]
) -> Iterator[tuple[str, str, str]]:
    """Package, name and class of each drawing of a domain, one of every package and subject."""
    for own in packages.values():
        subjects = set()
        for name in sorted(icons[own.name].names()) if domain in own.domains else ():
            label, subject = class_of(name), named(own, name)
            if label and subject not in subjects and DOMAINS[domain].shows(name) and not is_toned(name):
                subjects.add(subject)
                yield own.name, name, label


class Drawings:
    """Drawings of the classes by domain and subject, at twice the size of the images.

    Args:
        packages: The packages by their short names.
        archives: Their archives.
        seed: Draws among more than are needed.
    """

    def __init__(self, packages: Mapping[str, Package], archives: Mapping[str, Path], seed: int) -> None:
        self.classes: dict[str, str] = {}
        self.images: dict[tuple[str, str], list[tuple[str, Image.Image]]] = defaultdict(list)
        icons = {name: IconSet(archive) for name, archive in archives.items()}
        for domain, style in DOMAINS.items():
            cells = defaultdict(list)
            for package, name, label in listed(domain, packages, icons):
                cells[label].append((package, name))
            for label, cell in cells.items():
                rng = random.Random(f"{seed} {domain} {label}")
                for package, name in rng.sample(cell, min(_DRAWN, len(cell))):
                    subject = named(packages[package], name)
                    self.classes[subject] = label
                    image = draw(icons[package].svg(name, style.ink), ENLARGED, style.paper)
                    self.images[domain, subject].append((f"{package}/{name}|{subject}", image))

    def scarcest(self) -> dict[str, tuple[str, str]]:
        """Class of every subject, and of the domains that draw it the one with the fewest subjects of the class."""
        counts = Counter((self.classes[subject], domain) for domain, subject in self.images)
        found: dict[str, tuple[str, str]] = {}
        for domain, subject in self.images:
            label = self.classes[subject]
            other = found.get(subject)
            if other is None or counts[label, domain] < counts[other]:
                found[subject] = (label, domain)
        return found

    def groups(self) -> list[list[str]]:
        """Subjects that must stay together: some of their drawings nearly equal each other."""
        hashes, subjects = [], []
        for (domain, subject), drawn in self.images.items():
            for _, image in drawn:
                hashes.append(thumbnail(DOMAINS[domain].finished(image)))
                subjects.append(subject)
        pairs = near_pairs(np.stack(hashes))
        return grouped(list(self.classes), ((subjects[first], subjects[second]) for first, second in pairs))


def benchmark_rows(drawings: Drawings, seed: int) -> list[Row]:
    """The rows of the benchmark, a function of the drawings and the seed."""
    split = split_groups(drawings.scarcest(), drawings.groups(), random.Random(seed))
    rows: list[Row] = []
    for domain, style in DOMAINS.items():
        for part, most in MOST.items():
            for label, name in enumerate(CLASSES):
                rng = random.Random(f"{seed} {domain} {part} {name}")
                subjects = [s for s, own in drawings.classes.items() if own == name and split[s] == part]
                drawn = [pair for subject in subjects for pair in drawings.images.get((domain, subject), ())]
                chosen = rng.sample(drawn, min(most, len(drawn)))
                images = [(source, style.finished(image)) for source, image in chosen]
                for index in range(most - len(chosen) if part == "train" else 0):
                    source, image = chosen[index % len(chosen)]
                    images.append((source, style.finished(style.moved(image, rng))))
                rows += [(encode(image), label, name, domain, part, source) for source, image in images]
    return rows
