"""Data sets that lie on disk as image files, and the two ways of splitting them: by lists, and by held-out shares."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import resolve
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.image import decode

_LABEL_DIGITS = 9
_SHOWN = 200  # characters of a malformed line in a message


@dataclass(frozen=True)
class Item:
    """An image of a tree: its path relative to the root, with forward slashes, and what the tree says of it."""

    path: str
    label: int
    domain: str
    split: str


class TreeDataset(Dataset):
    """Image files below a root. A subclass lists them; nothing is decoded before it is asked for.

    Args:
        root: The folder.
        image_size: Side in pixels of the returned images.
        items: Every image.
        classes: Names of the classes.
    """

    def __init__(self, root: Path, image_size: int, items: Iterable[Item], classes: Iterable[str]) -> None:
        self._root = root
        self._image_size = image_size
        self.classes = tuple(classes)
        listed: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in items:
            listed[item.domain, item.split].append(item)
        self.domains = tuple(sorted({domain for domain, _ in listed}))
        keys = [(domain, split) for domain in self.domains for split in SPLITS]
        self._paths = {key: [item.path for item in listed[key]] for key in keys}
        self._labels = {key: np.array([item.label for item in listed[key]], dtype=np.int64) for key in keys}

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return self._labels[domain, split]

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        paths = self._paths[domain, split]
        decoded = np.empty((len(indices), 3, self._image_size, self._image_size), dtype=np.uint8)
        for position, index in enumerate(indices):
            file = self._root / paths[index]
            decoded[position] = decode(file, self._image_size, _readable(file))
        return decoded


def _readable(file: Path) -> str:
    """A path as text that can be written anywhere; on disk a name may have bytes that are no UTF-8."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def folder(root: str, expected: str) -> Path:
    """The data set's folder.

    Raises:
        SettingError: if it does not exist, saying what it should contain.
    """
    path = resolve(root)
    if not os.path.isdir(path):  # false for any name, where Path.is_dir raises if it is too long
        raise SettingError("dataset.root", root, f"no such folder; it should contain {expected}")
    return path


def read_list(file: Path) -> Iterator[tuple[str, int]]:
    """Path and label of every line `path label` of a split file; a path may contain spaces.

    Raises:
        SettingError: naming the file and line that is missing, malformed, or leaves the root.
    """
    try:
        if file.exists() and not file.is_file():
            raise OSError("not a regular file")
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError("dataset.root", file, f"is not a readable split file: {error}") from error
    if not any(map(str.strip, lines)):
        raise SettingError("dataset.root", file, "names no image")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _path_and_label(line.strip(), f"{file}, line {number}")


def _path_and_label(line: str, place: str) -> tuple[str, int]:
    path, _, label = line.rpartition(" ")
    inside = PurePosixPath(path)
    if not (label.isascii() and label.isdigit()) or len(inside.parts) < 3 or "\0" in path:
        raise SettingError("dataset.root", place, f"must be `domain/class/image label`: {line[:_SHOWN]}")
    if ".." in inside.parts or inside.is_absolute():
        raise SettingError("dataset.root", place, f"must stay below the root: {path[:_SHOWN]}")
    if len(label) > _LABEL_DIGITS:
        raise SettingError("dataset.root", place, f"a label has at most {_LABEL_DIGITS} digits: {line[:_SHOWN]}")
    return path, int(label)


def class_names(pairs: Iterable[tuple[int, str]], source: Path) -> tuple[str, ...]:
    """Names of the classes by label.

    Raises:
        SettingError: if a label has two names, a name two labels, or labels are not 0, 1, 2, ... without a gap.
    """
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for label, name in pairs:
        if names.setdefault(label, name) != name:
            raise SettingError("dataset.root", source, f"label {label} stands for {names[label]} and for {name}")
        if labels.setdefault(name, label) != label:
            raise SettingError("dataset.root", source, f"{name} has the labels {labels[name]} and {label}")
    if sorted(names) != list(range(len(names))) or not names:
        missing = next(label for label in range(len(names) + 1) if label not in names)
        raise SettingError("dataset.root", source, f"labels must be 0, 1, 2, ... without a gap; there is no {missing}")
    return tuple(names[label] for label in range(len(names)))


def held_out(items: list[Item], test: float, validation: float) -> list[Item]:
    """The same images, shares of every domain and class of them moved to the test and validation splits.

    Which ones follows from their paths alone, so it is the same on every machine and for every seed.

    Args:
        items: Images, all of split train.
        test: Share in [0, 1) for the test split; 0 for none.
        validation: The same for the validation split.
    """
    if not (0 <= test < 1 and 0 <= validation < 1 and test + validation < 1):
        shares = [test, validation]
        raise SettingError("dataset.options", shares, "test and validation shares must be at least 0 and sum below 1")
    members: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in items:
        members[item.domain, item.label].append(item)
    moved: dict[str, str] = {}
    for group in members.values():
        ranked = sorted(group, key=lambda item: hashlib.sha256(item.path.encode("utf-8", "surrogateescape")).digest())
        first, second = round(test * len(group)), round((test + validation) * len(group))
        moved |= {item.path: "test" for item in ranked[:first]}
        moved |= {item.path: "validation" for item in ranked[first:second]}
    return [Item(item.path, item.label, item.domain, moved.get(item.path, item.split)) for item in items]
