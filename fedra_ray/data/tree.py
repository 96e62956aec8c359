"""Data sets of image files in folders, and two ways to split them: by lists, and by shares that are held out."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.paths import resolve
from fedra_ray.data.classes import Classes, one_form, without_images
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.image import Pixels, decode, pixel_type

_LABEL_DIGITS = 9
_SHOWN = 200  # characters of a malformed line in a message


@dataclass(frozen=True)
class Item:
    """An image file of a data set.

    Attributes:
        path: Its path relative to the root, with forward slashes.
        label: The data set's number of its class.
        domain: Name of its domain.
        split: train, validation or test.
    """

    path: str
    label: int
    domain: str
    split: str


class TreeDataset(Dataset):
    """Image files below a root, which a subclass lists. An image is decoded when it is asked for.

    Args:
        root: The folder.
        image_size: Side in pixels of the returned images.
        items: All images.
        classes: The classes to take; images of others are left out.
        resize: A value of `dataset.resize`.
        notes: What a person should know of the files, a line each.
    """

    def __init__(
        self,
        root: Path,
        image_size: int,
        items: Sequence[Item],
        classes: Classes,
        resize: str = "antialias",
        notes: Iterable[str] = (),
    ) -> None:
        self._root = root
        self._image_size = image_size
        self._resize = resize
        self.classes = classes.names
        self._numbers = classes.numbers
        labels = classes.labels
        listed: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in items:
            if item.label in labels:
                listed[item.domain, item.split].append(item)
        self.domains = tuple(sorted({domain for domain, _ in listed}))
        keys = [(domain, split) for domain in self.domains for split in SPLITS]
        self._paths = {key: [item.path for item in listed[key]] for key in keys}
        self._labels = {key: np.array([labels[item.label] for item in listed[key]], dtype=np.int64) for key in keys}
        without = without_images({item.domain for item in items}, self.domains)
        self._notes = (*notes, *classes.notes, *without)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def class_numbers(self) -> tuple[int, ...]:
        return self._numbers

    def fingerprint(self, domain: str, split: str) -> bytes:
        digest = hashlib.sha256()
        for path in self._paths[domain, split]:
            digest.update(repr((path, _state(os.path.join(self._root, path)))).encode())
        return digest.digest()

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return self._labels[domain, split]

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> Pixels:
        paths = self._paths[domain, split]
        decoded = np.empty((len(indices), 3, self._image_size, self._image_size), dtype=pixel_type(self._resize))
        for position, index in enumerate(indices):
            file = self._root / paths[index]
            decoded[position] = decode(file, self._image_size, _readable(file), self._resize)
        return decoded


def _state(file: str) -> tuple[int, int] | None:
    """Size and time of change of a file; None if there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _readable(file: Path) -> str:
    """A path as text in UTF-8, although the name of a file may have other bytes."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def folder(root: str, expected: str) -> Path:
    """The folder of a data set.

    Args:
        root: The setting.
        expected: What the folder should contain, for the message.

    Raises:
        SettingError: if there is no such folder.
    """
    path = resolve(root)
    if not os.path.isdir(path):  # false for any name, where Path.is_dir raises if it is too long
        raise SettingError("dataset.root", root, f"no such folder; it should contain {expected}")
    return path


def read_list(file: Path) -> Iterator[tuple[str, int]]:
    """Paths and labels of a split file, whose lines are `path label`; a path may contain spaces.

    Raises:
        SettingError: if the file is missing, or naming the line that is malformed or leaves the root.
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


def read_lists(folder: Path, domains: Iterable[str], num_classes: int | None) -> tuple[list[Item], list[str]]:
    """Images of the split files {domain}_{train|test}.txt, and what a person should know of them.

    Args:
        folder: Where the files are.
        domains: Names of the domains.
        num_classes: Leave out classes whose labels are not smaller; None for none.

    Raises:
        SettingError: naming the file, if one is missing, or its line that is malformed.
    """
    items = [
        Item(path, label, domain, split)
        for split in ("train", "test")
        for domain in domains
        for path, label in read_list(folder / f"{domain}_{split}.txt")
    ]
    if num_classes is None:
        return items, []
    kept = [item for item in items if item.label < num_classes]
    listed, taken = ({item.label for item in some} for some in (items, kept))
    left_out = f"dataset.options.num_classes={num_classes} leaves out {len(listed - taken)} of {len(listed)} classes"
    return kept, [left_out] if len(taken) < len(listed) else []


def class_names(items: Iterable[Item], source: Path) -> dict[int, str]:
    """Names of the classes, by label: the folders that hold their images, in one form.

    Args:
        items: The images.
        source: What they come from, for the message.

    Raises:
        SettingError: if a label has two names, or a name two labels.
    """
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for item in items:
        label, name = item.label, one_form(PurePosixPath(item.path).parts[-2])
        if names.setdefault(label, name) != name:
            raise SettingError("dataset.root", source, f"label {label} stands for {names[label]} and for {name}")
        if labels.setdefault(name, label) != label:
            raise SettingError("dataset.root", source, f"{name} has the labels {labels[name]} and {label}")
    return names


def first_path(items: Iterable[Item], classes: Classes) -> str:
    """The path of the first image of the classes that are taken, by which one sees whether lists and images fit."""
    labels = classes.labels
    return next(item.path for item in items if item.label in labels)


def held_out(items: list[Item], test: float, validation: float) -> list[Item]:
    """Move shares of the images of every domain and class to the test and validation splits.

    Paths alone decide which images are moved: the same ones on every machine and for every seed.

    Args:
        items: Images, all of split train.
        test: Share in [0, 1) for the test split.
        validation: Share in [0, 1) for the validation split.

    Returns:
        The same images in the same order.

    Raises:
        SettingError: if the shares are not in [0, 1), or leave nothing to train on.
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
        tested = round(test * len(group))
        held = round((test + validation) * len(group))
        moved |= {item.path: "test" for item in ranked[:tested]}
        moved |= {item.path: "validation" for item in ranked[tested:held]}
    return [Item(item.path, item.label, item.domain, moved.get(item.path, item.split)) for item in items]
