"""Domain data sets in Parquet: one row per image, with its encoded bytes, a label and a domain.

One file or a folder of them is read, from any file system of pyarrow.fs: the embedded data set, exports of the Hugging
Face Hub, and the shards that `fedra-ray prepare` writes.
"""

import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.image import decode
from fedra_ray.data.parquet_files import Columns, list_files, read_files, together
from fedra_ray.data.parquet_groups import advice, row_groups
from fedra_ray.data.parquet_images import EncodedImages
from fedra_ray.data.parquet_splits import divided, told_by_column, told_by_names
from fedra_ray.data.prepare import manifest
from fedra_ray.data.tree import held_out


class ParquetDataset(Dataset):
    """Reads all labels when it is opened, and later the row groups that hold the images that are asked for.

    Splits come from a column, else from the names of files and folders by the rule of the Hugging Face Hub. Where these
    tell training images alone, or nothing does, shares are held out. Names of classes and domains come from a column,
    else from Hugging Face's metadata of the schema, else they are the numbers.

    Args:
        root: A Parquet file or a folder of them: a path or a pyarrow.fs URI.
        image_size: Side in pixels of the returned images; stored images of another size are resized (bicubic).
        columns: The columns that have other names than `image`, `label`, `label_name`, `domain` and `split`, by these.
        test: Share in [0, 1) of every domain and class that is held out for testing; None means 0.2 if nothing tells
            splits or file names tell training images alone, else 0.
        validation: The same for validation; None means 0.1 or 0.

    Raises:
        SettingError: if a file is missing or damaged, lacks a column, or holds something that does not fit.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        columns: dict[str, str] | None = None,
        test: float | None = None,
        validation: float | None = None,
    ) -> None:
        self._image_size = image_size
        names = Columns.renamed(columns or {})
        held_out([], test or 0.0, validation or 0.0)  # refuses shares that cannot be, before anything is read
        system, path = filesystem("dataset.root", root)
        try:
            files = list_files(system, path, root)
            read = read_files(system, files, names, root)
        except (pa.ArrowException, OSError, RecursionError) as error:
            raise SettingError("dataset.root", root, f"is not readable as Parquet: {error_text(error)}") from error
        words = together(files, [part.words for part in read], root)
        for column in (names.label, names.domain):
            _check_names(files, [_known_names(part.schema, column) for part in read], column, root)
        label, self.classes = _labels(words, names, read[0].schema, root)
        domain, self.domains = _domains(words[names.domain], _known_names(read[0].schema, names.domain), root)
        if names.split in words.column_names:
            told = told_by_column(words[names.split], names.split, root)
        else:
            told = told_by_names(files, [len(part.words) for part in read], path, root)
        split, notes = divided(told, label, domain, test, validation, root)
        self._rows, self._starts = _grouped(domain * len(SPLITS) + split, words, len(self.domains) * len(SPLITS))
        self._labels = label[self._rows]
        self._numbers = {name: number for number, name in enumerate(self.domains)}
        groups = row_groups(files, [part.metadata for part in read], names.image)
        self._encoded = EncodedImages(system, groups, names.image)
        self._notes = (*notes, *advice(groups))

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def portable(self) -> bool:
        """A subclass may hold what cannot be handed to another process."""
        return type(self) is ParquetDataset

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return self._labels[self._part(domain, split)]

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        part = self._rows[self._part(domain, split)]
        rows = part[indices]
        if not self._encoded.expects(rows):
            self._encoded.expect(part)  # whoever asks for some of them will ask for others
        decoded = np.empty((len(rows), 3, self._image_size, self._image_size), dtype=np.uint8)
        for position, content in self._encoded.take(rows):
            decoded[position] = decode(content, self._image_size, self._encoded.name(rows[position], content))
        return decoded

    def expect(self, requests: Iterable[tuple[str, str, NDArray[np.int64]]]) -> None:
        rows = [self._rows[self._part(domain, split)][indices] for domain, split, indices in requests]
        self._encoded.expect(np.concatenate([np.empty(0, dtype=np.int64), *rows]))

    def _part(self, domain: str, split: str) -> slice:
        """Where the rows of a domain and split are."""
        number = self._numbers[domain] * len(SPLITS) + SPLITS.index(split)
        return slice(self._starts[number], self._starts[number + 1])


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


def _labels(table: pa.Table, names: Columns, schema: pa.Schema, root: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (rows,) and the names of the classes."""
    column = table[names.label]
    if not pa.types.is_integer(column.type):
        classes = sorted(pc.unique(column).to_pylist())
        return np.array(pc.index_in(column, pa.array(classes, column.type)), dtype=np.int64), tuple(map(str, classes))
    numbers = column.to_numpy().astype(np.int64)
    present = np.unique(numbers).tolist()
    if present != list(range(len(present))):
        raise SettingError("dataset.root", root, f"labels in column {names.label} must be 0, 1, 2, ... without a gap")
    if names.label_name in table.column_names:
        pairs = table.group_by([names.label, names.label_name]).aggregate([]).sort_by(names.label)
        if len(pairs) != len(present):
            raise SettingError("dataset.root", root, f"every label must have one name in column {names.label_name}")
        return numbers, tuple(map(str, pairs[names.label_name].to_pylist()))
    known = _known_names(schema, names.label) or []
    return numbers, tuple(known[label] if label < len(known) else str(label) for label in present)


def _domains(column: pa.ChunkedArray, known: list[str] | None, root: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of domains (rows,), and the names by these; `known` are names for the integers of the column."""
    values = pc.unique(column)
    present = values.to_pylist()
    if pa.types.is_integer(column.type) and known:
        if not all(0 <= value < len(known) for value in present):
            raise SettingError("dataset.root", root, f"has domains outside its {len(known)} names")
        present = [known[value] for value in present]
    names = sorted(map(str, present))
    numbers = {name: number for number, name in enumerate(names)}
    number = np.array([numbers[str(name)] for name in present], dtype=np.int64)
    return number[pc.index_in(column, values).to_numpy()], tuple(names)
