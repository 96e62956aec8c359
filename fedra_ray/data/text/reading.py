"""Reading texts with their labels and domains from Parquet files and from lines of JSON. None of them is trusted."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.parquet_files import check_columns, is_word, list_files, naming, together, word
from fedra_ray.data.rows import Table

ONE_DOMAIN = "all"  # the domain of all texts, where no column has one


@dataclass(frozen=True)
class TextColumns:
    """Names of the columns. Labels and domains are text or integers; an empty name of the domain means that none is."""

    text: str = "text"
    label: str = "label"
    label_name: str = "label_name"
    domain: str = "domain"
    split: str = "split"

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every file must have."""
        return tuple(name for name in (self.text, self.label, self.domain) if name)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that are read where they are."""
        return self.label_name, self.split

    @classmethod
    def renamed(cls, names: Mapping[str, str | None]) -> "TextColumns":
        """The usual names, but for some columns.

        Args:
            names: Other names, by the usual ones; that of the domain may be null.

        Raises:
            SettingError: if there is no such usual name, or another one is null.
        """
        check_columns(names, cls)
        for name, value in names.items():
            if not value and name != "domain":
                raise SettingError(
                    f"dataset.options.columns.{name}", value, "must name a column; only domain may be null"
                )
        return cls(**{name: value or "" for name, value in names.items()})


def read_parquet(root: str, names: TextColumns) -> tuple[list[str], Table]:
    """Texts of a Parquet file or a folder of them, and their rows.

    Raises:
        SettingError: naming the file, if one is missing or damaged, lacks a column, or holds what does not fit.
    """
    system, path = filesystem("dataset.root", root)
    files = _listed(system, path, root, (".parquet",), "Parquet")
    parts = []
    for file in files:
        with naming(file, root):
            reader = pq.ParquetFile(system.open_input_file(file), page_checksum_verification=True)
        _check_columns(reader.schema_arrow.names, file, names, root)
        present = [name for name in (*names.needed, *names.optional) if name in reader.schema_arrow.names]
        with naming(file, root):
            part = reader.read(columns=present, use_threads=False)
            part.validate(full=True)
        parts.append((part, reader.schema_arrow))
    return _whole(files, parts, names, path, root)


def read_lines(root: str, names: TextColumns) -> tuple[list[str], Table]:
    """Texts of a file of JSON lines or a folder of such (.jsonl, .jsonl.gz), and their rows.

    Raises:
        SettingError: naming the file and the line, if one is missing or damaged, lacks a name, or holds what does not
            fit.
    """
    system, path = filesystem("dataset.root", root)
    files = _listed(system, path, root, (".jsonl", ".jsonl.gz"), "JSON lines")
    parts = []
    for file in files:
        with naming(file, root, "JSON lines"):
            lines = list(_objects(system, file))
        first = list(lines[0]) if lines else []
        _check_columns(first, file, names, root)
        present = [name for name in (*names.needed, *names.optional) if name in first]
        columns: dict[str, list[Any]] = {name: [] for name in present}
        for number, line in enumerate(lines, start=1):
            for name, values in columns.items():
                values.append(_value(line, name, f"{file}, line {number}", root))
        with naming(file, root, "JSON lines"):
            part = pa.table({name: pa.array(values) for name, values in columns.items()})
        parts.append((part, part.schema))
    return _whole(files, parts, names, path, root)


def _listed(system: fs.FileSystem, path: str, root: str, suffixes: tuple[str, ...], kind: str) -> list[str]:
    try:
        return list_files(system, path, root, suffixes, kind)
    except (pa.ArrowException, OSError, RecursionError) as error:
        raise SettingError("dataset.root", root, f"is not readable as {kind}: {error_text(error)}") from error


def _objects(system: fs.FileSystem, file: str) -> Iterator[dict[str, Any]]:
    """The object of every line.

    Raises:
        ValueError: naming the first line that holds none.
    """
    with system.open_input_stream(file) as stream:
        lines = stream.read().decode().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"line {number} is no object")
        yield value


def _value(line: dict[str, Any], name: str, place: str, root: str) -> str | int:
    value = line.get(name)
    if value is None:
        raise SettingError("dataset.root", root, f"{place} has no {name}, which the first line has")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SettingError("dataset.root", root, f"{place}: {name} must be text or an integer")
    return value


def _check_columns(present: list[str], file: str, names: TextColumns, root: str) -> None:
    missing = [name for name in names.needed if name not in present]
    if missing:
        lacking = f"{file} lacks the columns {', '.join(missing)}; its columns are {', '.join(present) or 'none'}"
        advice = "dataset.options.columns renames them, and columns.domain=null takes all texts for one domain"
        raise SettingError("dataset.root", root, f"{lacking}; {advice}")
    for name in (*names.needed, *names.optional):
        if present.count(name) > 1:
            raise SettingError("dataset.root", root, f"{file} has more than one column {name}")


def _whole(
    files: list[str], parts: list[tuple[pa.Table, pa.Schema]], names: TextColumns, path: str, root: str
) -> tuple[list[str], Table]:
    """The texts of all files, and the rows without them."""
    words = []
    for file, (part, _) in zip(files, parts, strict=True):
        for name in part.column_names:
            if not is_word(part.schema.field(name).type) or (name == names.text and _is_number(part, name)):
                expected = "text" if name == names.text else "text or integers"
                allowed = f"{file}: column {name} must have {expected}; it has {part.schema.field(name).type}"
                raise SettingError("dataset.root", root, allowed)
        columns = {name: word(part[name], name, file, root) for name in part.column_names}
        if not names.domain:
            columns[names.domain] = pa.chunked_array([pa.array([ONE_DOMAIN] * len(part), pa.large_string())])
        words.append(pa.table(columns))
    table = together(files, words, root)
    counts, schemas = [len(part) for part in words], [schema for _, schema in parts]
    return table[names.text].to_pylist(), Table(files, counts, table.drop_columns([names.text]), schemas, path, root)


def _is_number(part: pa.Table, name: str) -> bool:
    return bool(pa.types.is_integer(part.schema.field(name).type))
