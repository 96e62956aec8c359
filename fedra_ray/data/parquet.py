"""Domain data sets in Parquet: one row per image, with its encoded bytes, a label and a domain.

One file or a folder of them is read, from any file system of pyarrow.fs: the embedded data set, exports of the Hugging
Face Hub, and the shards that `fedra-ray prepare` writes.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedra_ray.config.errors import ImageError, SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.classes import Chosen, Classes, check_alike, one_form, take, without_images
from fedra_ray.data.dataset import SPLITS, Dataset
from fedra_ray.data.image import Pixels, decode, pixel_type
from fedra_ray.data.parquet_files import Columns, list_files, open_file, read_columns
from fedra_ray.data.prepare import manifest
from fedra_ray.data.tree import Item, held_out

_SPLIT_NAMES = {"val": "validation", "valid": "validation", "dev": "validation"} | {name: name for name in SPLITS}
_FILE_SPLIT = re.compile(rf"(?:^|/)({'|'.join(_SPLIT_NAMES)})[-_./]")
_LABEL_DIGITS = 9
_SHOWN = 40  # characters of an unknown word in a message
_ENCODED_BYTES = 256_000_000  # of the row groups that a process keeps in memory


@dataclass
class _Index:
    """What is known of all rows (rows,) but their images; rows are numbered through all files."""

    label: NDArray[np.int64]
    domain: NDArray[np.object_]
    split: NDArray[np.object_]
    position: NDArray[np.int64]


class ParquetDataset(Dataset):
    """Reads all labels when it is opened, and later the row groups that hold the images that are asked for.

    Splits come from a column, else from file names (train-00000.parquet), else shares are held out. Names of classes
    and domains come from a column, else from Hugging Face's metadata of the schema, else they are the numbers.

    Args:
        root: A Parquet file or a folder of them: a path or a pyarrow.fs URI.
        image_size: Side in pixels of the returned images; stored images of another size are resized (bicubic).
        columns: The columns that have other names than `image`, `label`, `label_name`, `domain` and `split`, by these.
        classes: Names of the classes to take, or their labels; None takes all.
        test: Share in [0, 1) of every domain and class that is held out for testing, if nothing else tells the splits.
        validation: The same for validation.
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
        test: float = 0.2,
        validation: float = 0.1,
        resize: str = "antialias",
    ) -> None:
        self._root = root
        self._image_size = image_size
        self._resize = resize
        self._columns = Columns.renamed(columns or {})
        held_out([], test, validation)  # refuses shares that cannot be, before anything is read
        self._system, self._path = filesystem("dataset.root", root)
        try:
            self._files = list_files(self._system, self._path, root)
            self._readers = [open_file(self._system, file, self._columns, root) for file in self._files]
            index, taken = self._read_index(classes, test, validation)
        except (pa.ArrowException, OSError, RecursionError) as error:
            raise SettingError("dataset.root", root, f"is not readable as Parquet: {error_text(error)}") from error
        self.classes = taken.names
        self._numbers = taken.numbers
        self.domains = tuple(sorted(set(index.domain[index.label >= 0])))
        self._notes = (*taken.notes, *without_images(set(index.domain), self.domains))
        self._rows = _rows_by_split(index, self.domains)
        self._labels = {key: index.label[rows] for key, rows in self._rows.items()}
        self._groups = [
            (file, group) for file, reader in enumerate(self._readers) for group in range(reader.num_row_groups)
        ]
        metadata = [self._readers[file].metadata.row_group(group) for file, group in self._groups]
        self._starts = np.cumsum([0] + [group.num_rows for group in metadata])
        largest = max(group.total_byte_size for group in metadata)
        self._encoded = lru_cache(maxsize=max(2, _ENCODED_BYTES // max(1, largest)))(self._read_group)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def class_numbers(self) -> tuple[int, ...]:
        return self._numbers

    def fingerprint(self, domain: str, split: str) -> bytes:
        return repr(
            [(info.path, info.size, info.mtime_ns) for info in self._system.get_file_info(self._files)]
        ).encode()

    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        return self._labels[domain, split]

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> Pixels:
        rows = self._rows[domain, split][indices]
        decoded = np.empty((len(rows), 3, self._image_size, self._image_size), dtype=pixel_type(self._resize))
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for group in np.unique(groups):
            encoded = self._encoded(group)
            for position in np.flatnonzero(groups == group):
                row = rows[position] - self._starts[group]
                content = encoded[row].as_py()
                decoded[position] = decode(content or b"", self._image_size, self._name(group, row), self._resize)
        return decoded

    def _read_group(self, group: int) -> pa.ChunkedArray:
        file, number = self._groups[group]
        try:
            column = self._readers[file].read_row_group(number, columns=[self._columns.image]).column(0)
            if len(column) != self._starts[group + 1] - self._starts[group]:
                raise ValueError(f"has {len(column)} rows, another number than the file says")
        except Exception as error:  # pyarrow raises errors of all kinds for damaged files
            raise ImageError(f"{self._files[file]}, row group {number}", error_text(error)) from error
        return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column

    def _name(self, group: int, row: int) -> str:
        file, number = self._groups[group]  # a file's groups follow one another
        return f"{self._files[file]}, row {self._starts[group] - self._starts[group - number] + row}"

    def _read_index(self, chosen: Chosen, test: float, validation: float) -> tuple[_Index, Classes]:
        """Label, domain and split of every row, and the classes; the label is -1 in rows of those not taken."""
        schema = self._readers[0].schema_arrow
        names = self._columns
        wanted = [name for name in dict.fromkeys([*names.words, manifest.POSITION]) if name in schema.names]
        readers = zip(self._readers, self._files, strict=True)
        tables = [read_columns(reader, wanted, file, self._root) for reader, file in readers]
        table = pa.concat_tables(tables, promote_options="default")
        if not len(table):
            raise SettingError("dataset.root", self._root, "has no rows")
        for name in wanted:
            if pa.types.is_dictionary(kind := table[name].type):
                table = table.set_column(table.column_names.index(name), name, table[name].cast(kind.value_type))
            if table[name].null_count:
                raise SettingError("dataset.root", self._root, f"the column {name} has empty values")
        label, known = _labels(table, names, schema, self._root)
        taken = take(known, chosen, self._root)
        domain = _domains(table[names.domain], _known_names(schema, names.domain), self._root)
        sizes = [len(part) for part in tables]
        if names.split in table.column_names:
            split = _named_splits(table[names.split].to_pylist(), self._root)
        elif all(told := [_file_split(file, self._path) for file in self._files]):
            split = np.repeat(np.array(told, dtype=object), sizes)
        else:
            items = [Item(str(row), label[row], domain[row], "train") for row in range(len(label))]
            split = np.array([item.split for item in held_out(items, test, validation)], dtype=object)
        prepared = manifest.POSITION in table.column_names
        if prepared and self._resize == "authors":
            allowed = f"{self._root} was resized by fedra-ray prepare; read the original images, or take antialias"
            raise SettingError("dataset.resize", self._resize, allowed)
        position = table[manifest.POSITION].to_numpy() if prepared else np.arange(len(table))
        return _Index(taken.labelled(label), domain, split, position), taken


def _rows_by_split(index: _Index, domains: tuple[str, ...]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """The rows of every domain and split in their order, without those of classes that are not taken."""
    taken = index.label >= 0
    return {
        (domain, split): _in_order(np.flatnonzero((index.domain == domain) & (index.split == split) & taken), index)
        for domain in domains
        for split in SPLITS
    }


def _in_order(rows: NDArray[np.int64], index: _Index) -> NDArray[np.int64]:
    return rows[np.argsort(index.position[rows], kind="stable")]


def _file_split(file: str, path: str) -> str | None:
    """The split that the name of a file tells, or that of a folder between it and the root's path."""
    inside = file.removeprefix(path) or file.rpartition("/")[2]
    named = _FILE_SPLIT.findall(inside)
    return _SPLIT_NAMES[named[-1]] if named else None


def _known_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names for the numbers of a column, from the metadata of Hugging Face's exports; None without usable ones."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except manifest.DAMAGE:
        return None
    return [str(name) for name in names] if isinstance(names, list) and len({*map(str, names)}) == len(names) else None


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


def _domains(column: pa.ChunkedArray, known: list[str] | None, root: str) -> NDArray[np.object_]:
    """Names of domains (rows,); `known` are names for numbers."""
    forms, rows = _forms(column)
    if pa.types.is_integer(column.type) and known:
        if not all(0 <= int(form) < len(known) for form in forms):
            raise SettingError("dataset.root", root, f"has domains outside its {len(known)} names")
        forms = [one_form(known[int(form)]) for form in forms]
    check_alike(forms, "domains", root)
    return np.array(forms, dtype=object)[rows]


def _named_splits(values: list[Any], root: str) -> NDArray[np.object_]:
    """Splits (rows,) of their usual names."""
    unknown = sorted({str(value)[:_SHOWN] for value in values} - _SPLIT_NAMES.keys())
    if unknown:
        allowed = f"splits must be train, validation or test; there is {', '.join(unknown[:3])}"
        raise SettingError("dataset.root", root, allowed)
    return np.array([_SPLIT_NAMES[str(value)] for value in values], dtype=object)
