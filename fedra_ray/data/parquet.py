"""Domain data sets in Parquet: one row per image, with its encoded bytes, a label and a domain.

One file or a folder of them is read, from any file system of pyarrow.fs: the embedded data set, exports of the Hugging
Face Hub, and the shards that `fedra-ray prepare` writes.
"""

import json
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.classes import check_alike, one_form, take, without_images
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.image import Pixels, decode, pixel_type
from fedra_ray.data.parquet_files import Columns, ReadFile, list_files, read_files, together
from fedra_ray.data.parquet_groups import advice, row_groups
from fedra_ray.data.parquet_images import EncodedImages
from fedra_ray.data.parquet_splits import divided, told_by_column, told_by_names
from fedra_ray.data.prepare import manifest
from fedra_ray.data.tree import held_out

_LABEL_DIGITS = 9


class ParquetDataset(Dataset):
    """Reads all labels when it is opened, and later the row groups that hold the images that are asked for.

    Splits come from a column, else from the names of files and folders by the rule of the Hugging Face Hub. Where these
    tell training images alone, or nothing does, shares are held out. Names of classes and domains come from a column,
    else from Hugging Face's metadata of the schema, else they are the numbers.

    Args:
        root: A Parquet file or a folder of them: a path or a pyarrow.fs URI.
        image_size: Side in pixels of the returned images; stored images of another size are resized (bicubic).
        columns: The columns that have other names than `image`, `label`, `label_name`, `domain` and `split`, by these.
        classes: Names of the classes to take, or their labels; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing; None means 0.2 if nothing tells
            splits or file names tell training images alone, else 0.
        validation: The same for validation; None means 0.1 or 0.
        resize: A value of `dataset.resize`.

    Raises:
        SettingError: if a file is missing or damaged, lacks a column, or holds something that does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        columns: dict[str, str] | None = None,
        classes: list[str | int] | None = None,
        test: float | None = None,
        validation: float | None = None,
        resize: str = "antialias",
    ) -> None:
        self._image_size = image_size
        self._resize = resize
        names = Columns.renamed(columns or {})
        held_out([], test or 0.0, validation or 0.0)  # refuses shares that cannot be, before anything is read
        system, path = filesystem("dataset.root", root)
        files, read = _read(system, path, names, root)
        words = together(files, [part.words for part in read], root)
        _check_resize(resize, words, root)
        for column in (names.label, names.domain):
            _check_names(files, [_known_names(part.schema, column) for part in read], column, root)
        label, known = _labels(words, names, read[0].schema, root)
        taken = take(known, classes, root)
        self.classes, self._class_numbers = taken.names, taken.numbers
        domain, present = _domains(words[names.domain], _known_names(read[0].schema, names.domain), root)
        if names.split in words.column_names:
            told = told_by_column(words[names.split], names.split, root)
        else:
            told = told_by_names(files, [len(part.words) for part in read], path, root)
        split, notes = divided(told, label, domain, test, validation, root)
        label = taken.labelled(label)
        parts = len(present) * len(SPLITS)
        part = np.where(label < 0, parts, domain * len(SPLITS) + split)  # rows of classes that are not taken come last
        self._rows, self._starts = _grouped(part, words, parts + 1)
        self._labels = label[self._rows]
        self._numbers = {name: number for number, name in enumerate(present)}
        self.domains = tuple(present[number] for number in np.unique(domain[label >= 0]))
        groups = row_groups(files, [part.metadata for part in read], names.image)
        self._encoded = EncodedImages(system, groups, names.image)
        self._notes = (*notes, *taken.notes, *without_images(present, self.domains), *advice(groups))
        self._system, self._files = system, files

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def class_numbers(self) -> tuple[int, ...]:
        return self._class_numbers

    def fingerprint(self, domain: str, split: str) -> bytes:
        return self._stamp

    @cached_property
    def _stamp(self) -> bytes:
        """What changes with the files; asked for only by a cache, because there may be thousands."""
        found = self._system.get_file_info(self._files)
        return repr([(info.path, info.size, info.mtime_ns) for info in found]).encode()

    @property
    def portable(self) -> bool:
        """A subclass may hold what cannot be handed to another process."""
        return type(self) is ParquetDataset

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return self._labels[self._part(domain, split)]

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> Pixels:
        part = self._rows[self._part(domain, split)]
        rows = part[indices]
        if not self._encoded.expects(rows):
            self._encoded.expect(part)  # whoever asks for some of them will ask for others
        decoded = np.empty((len(rows), 3, self._image_size, self._image_size), dtype=pixel_type(self._resize))
        for position, content in self._encoded.take(rows):
            decoded[position] = decode(
                content, self._image_size, self._encoded.name(rows[position], content), self._resize
            )
        return decoded

    def expect(self, requests: Iterable[tuple[str, str, NDArray[np.int64]]]) -> None:
        rows = [self._rows[self._part(domain, split)][indices] for domain, split, indices in requests]
        self._encoded.expect(np.concatenate([np.empty(0, dtype=np.int64), *rows]))

    def _part(self, domain: str, split: str) -> slice:
        """Where the rows of a domain and split are."""
        number = self._numbers[domain] * len(SPLITS) + SPLITS.index(split)
        return slice(self._starts[number], self._starts[number + 1])


def _read(system: FileSystem, path: str, names: Columns, root: str) -> tuple[list[str], list[ReadFile]]:
    """The files, and what is read of each when the data set is opened."""
    try:
        files = list_files(system, path, root)
        return files, read_files(system, files, names, root)
    except (pa.ArrowException, OSError, RecursionError) as error:
        raise SettingError("dataset.root", root, f"is not readable as Parquet: {error_text(error)}") from error


def _check_resize(resize: str, words: pa.Table, root: str) -> None:
    """Refuse to resize prepared shards in another way than they were."""
    if resize == "authors" and manifest.POSITION in words.column_names:
        allowed = f"{root} was resized by fedra-ray prepare; read the original images, or take antialias"
        raise SettingError("dataset.resize", resize, allowed)


def _grouped(part: NDArray[np.int64], words: pa.Table, parts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (rows,) by the part that each is in, and the first of every part (parts,) and the end.

    Rows of a part are in the order of the files, or that before they were prepared.
    """
    order = [part]
    if manifest.POSITION in words.column_names:
        order.insert(0, words[manifest.POSITION].to_numpy())
    return np.lexsort(order), np.cumsum(np.bincount(part + 1, minlength=parts + 1))


def _known_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names for the numbers of a column, from the metadata of Hugging Face's exports; None without usable ones."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except manifest.DAMAGE:
        return None
    return [str(name) for name in names] if isinstance(names, list) and len({*map(str, names)}) == len(names) else None


def _check_names(files: list[str], known: list[list[str] | None], column: str, root: str) -> None:
    """Refuse files whose metadata name the numbers of a column differently."""
    named = [(file, names) for file, names in zip(files, known, strict=True) if names is not None]
    for file, names in named:
        if names != named[0][1]:
            allowed = f"the metadata of {named[0][0]} and {file} give other names to the numbers of column {column}"
            raise SettingError("dataset.root", root, allowed)


def _labels(table: pa.Table, names: Columns, schema: pa.Schema, root: str) -> tuple[NDArray[np.int64], dict[int, str]]:
    """The file's numbers of classes (rows,), or those of the alphabetical order, and the name of every number."""
    column = table[names.label]
    if not pa.types.is_integer(column.type):
        forms, rows = _forms(column)
        classes = sorted(set(forms))
        return np.array([classes.index(form) for form in forms], dtype=np.int64)[rows], dict(enumerate(classes))
    least, largest = pc.min_max(column).as_py().values()
    if least < 0 or largest >= 10**_LABEL_DIGITS:
        allowed = f"labels in column {names.label} go from {least} to {largest}; they have 1 to {_LABEL_DIGITS} digits"
        raise SettingError("dataset.root", root, allowed)
    numbers = column.to_numpy().astype(np.int64)
    present = np.unique(numbers).tolist()
    if names.label_name in table.column_names:
        pairs = table.group_by([names.label, names.label_name]).aggregate([])
        labels, words = pairs[names.label].to_pylist(), map(str, pairs[names.label_name].to_pylist())
        named = {(label, one_form(word)) for label, word in zip(labels, words, strict=True)}
        if len(named) != len(present):
            raise SettingError("dataset.root", root, f"every label must have one name in column {names.label_name}")
        return numbers, dict(sorted(named))
    known = _known_names(schema, names.label) or []
    return numbers, {label: one_form(known[label]) if label < len(known) else str(label) for label in present}


def _forms(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The different words of a column in one form, and which of them stands in each row (rows,)."""
    encoded = column.combine_chunks().dictionary_encode()
    return [one_form(str(word)) for word in encoded.dictionary.to_pylist()], encoded.indices.to_numpy().astype(np.int64)


def _domains(column: pa.ChunkedArray, known: list[str] | None, root: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of domains (rows,), and the names by these; `known` are names for the integers of the column."""
    forms, rows = _forms(column)
    if pa.types.is_integer(column.type) and known:
        if not all(0 <= int(form) < len(known) for form in forms):
            raise SettingError("dataset.root", root, f"has domains outside its {len(known)} names")
        forms = [one_form(known[int(form)]) for form in forms]
    names = sorted(set(forms))
    check_alike(names, "domains", root)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[form] for form in forms], dtype=np.int64)[rows], tuple(names)
