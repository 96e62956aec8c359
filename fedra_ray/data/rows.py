"""The rows of a table by domain, split and class: what data sets of images and of texts have in common."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.data.classes import Chosen, Classes, check_alike, one_form, take, without_images
from fedra_ray.data.columns import integers
from fedra_ray.data.dataset import SPLITS
from fedra_ray.data.parquet_splits import divided, told_by_column, told_by_names
from fedra_ray.data.prepare import manifest

_LABEL_DIGITS = 9

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Names:
    """Names of the columns of text or integers."""

    label: str = "label"
    label_name: str = "label_name"
    domain: str = "domain"
    split: str = "split"


@dataclass(frozen=True)
class Table:
    """What is read of the files of a data set, but its images or texts.

    Attributes:
        files: Paths of the files.
        counts: Rows of each.
        words: The columns of text or integers of all files, one after another.
        schemas: The schema of each file, for the metadata.
        path: The path of the root, a folder or the only file.
        root: The setting, for messages.
        notes: What a person should know of rows that are not in it, a line each.
    """

    files: Sequence[str]
    counts: Sequence[int]
    words: pa.Table
    schemas: Sequence[pa.Schema]
    path: str
    root: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arranged:
    """Rows that are taken, by domain and split.

    Attributes:
        rows: Their numbers in the table, those of a domain and split together; behind them those that are not taken.
        labels: The label of each.
        domains: Names of the domains that have any, in alphabetical order.
        classes: The classes that are taken.
        notes: What a person should know, a line each.
    """

    rows: Rows
    labels: Rows
    domains: tuple[str, ...]
    classes: Classes
    notes: tuple[str, ...]
    _starts: Rows
    _numbers: dict[str, int]

    def part(self, domain: str, split: str) -> slice:
        """Where the rows of a domain and split are."""
        number = self._numbers[domain] * len(SPLITS) + SPLITS.index(split)
        return slice(self._starts[number], self._starts[number + 1])

    def noting(self, more: Sequence[str]) -> "Arranged":
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *more))


class OfRows:
    """Labels, classes and notes of a data set whose rows are arranged; the first base of such a data set."""

    _arranged: Arranged

    @property
    def notes(self) -> tuple[str, ...]:
        return self._arranged.notes

    @property
    def class_numbers(self) -> tuple[int, ...]:
        return self._arranged.classes.numbers

    def labels(self, domain: str, split: str) -> Rows:
        return self._arranged.labels[self._arranged.part(domain, split)]

    def _rows(self, domain: str, split: str) -> Rows:
        """Numbers of the rows of a domain and split."""
        return self._arranged.rows[self._arranged.part(domain, split)]


def arrange(table: Table, names: Names, chosen: Chosen, test: float | None, validation: float | None) -> Arranged:
    """Work out domain, split and label of every row.

    Args:
        table: The rows.
        names: Names of the columns.
        chosen: Names of the classes to take, or their labels; None takes all.
        test: Share to hold out for testing, as the data sets' own option.
        validation: The same for validation.

    Raises:
        SettingError: if labels, domains or splits do not fit, or files contradict each other.
    """
    words, root = table.words, table.root
    for column in (names.label, names.domain):
        _check_names(table.files, [_known_names(schema, column) for schema in table.schemas], column, root)
    label, known = _labels(words, names, table.schemas[0], root)
    taken = take(known, chosen, root)
    domain, present = _domains(words[names.domain], _known_names(table.schemas[0], names.domain), root)
    if names.split in words.column_names:
        told = told_by_column(words[names.split], names.split, root)
    else:
        told = told_by_names(table.files, table.counts, table.path, root)
    split, notes = divided(told, label, domain, test, validation, root)
    label = taken.labelled(label)
    parts = len(present) * len(SPLITS)
    part = np.where(label < 0, parts, domain * len(SPLITS) + split)  # rows of classes that are not taken come last
    rows, starts = _grouped(part, words, parts + 1)
    domains = tuple(present[number] for number in np.unique(domain[label >= 0]))
    numbers = {name: number for number, name in enumerate(present)}
    notes = (*table.notes, *notes, *taken.notes, *without_images(present, domains))
    return Arranged(rows, label[rows], domains, taken, notes, starts, numbers)


def _grouped(part: NDArray[np.int64], words: pa.Table, parts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (rows,) by the part that each is in, and the first of every part (parts,) and the end.

    Rows of a part are in the order of the files, or that before they were prepared.
    """
    order = [part]
    if manifest.POSITION in words.column_names:
        order.insert(0, integers(words[manifest.POSITION]))
    return np.lexsort(order), np.cumsum(np.bincount(part + 1, minlength=parts + 1))


def _known_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names for the numbers of a column, from the metadata of Hugging Face's exports; None without usable ones."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except manifest.DAMAGE:
        return None
    return [str(name) for name in names] if isinstance(names, list) and len({*map(str, names)}) == len(names) else None


def _check_names(files: Sequence[str], known: list[list[str] | None], column: str, root: str) -> None:
    """Refuse files whose metadata name the numbers of a column differently."""
    named = [(file, names) for file, names in zip(files, known, strict=True) if names is not None]
    for file, names in named:
        if names != named[0][1]:
            allowed = f"the metadata of {named[0][0]} and {file} give other names to the numbers of column {column}"
            raise SettingError("dataset.root", root, allowed)


def _labels(table: pa.Table, names: Names, schema: pa.Schema, root: str) -> tuple[NDArray[np.int64], dict[int, str]]:
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
    numbers = integers(column)
    present = np.unique(numbers).tolist()
    if names.label_name in table.column_names:
        forms, places = _forms(table[names.label_name])
        pairs = np.unique(numbers * len(forms) + places)
        named = {(label, forms[place]) for label, place in (divmod(pair, len(forms)) for pair in pairs.tolist())}
        if len(named) != len(present):
            raise SettingError("dataset.root", root, f"every label must have one name in column {names.label_name}")
        return numbers, dict(sorted(named))
    known = _known_names(schema, names.label) or []
    return numbers, {label: one_form(known[label]) if label < len(known) else str(label) for label in present}


def _forms(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The different words of a column in one form, and which of them stands in each row (rows,)."""
    encoded = column.combine_chunks().dictionary_encode()
    return [one_form(str(word)) for word in encoded.dictionary.to_pylist()], integers(encoded.indices)


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
