"""The Parquet files of a data set: finding them, and checking what they hold. None of them is trusted."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.data.parquet_groups import check_paths
from fedra_ray.data.prepare import manifest
from fedra_ray.data.rows import Names

_AT_ONCE = 8  # files that are read side by side: over a network, each waits


@dataclass(frozen=True)
class Columns(Names):
    """Names of the columns. Labels and domains are text or integers, images are bytes or a struct with `bytes`."""

    image: str = "image"

    @property
    def words(self) -> tuple[str, ...]:
        """The columns of text or integers."""
        return self.label, self.label_name, self.domain, self.split

    @classmethod
    def renamed(cls, names: dict[str, str]) -> "Columns":
        """The usual names, but for some columns.

        Args:
            names: Other names, by the usual ones.

        Raises:
            SettingError: if there is no such usual name.
        """
        check_columns(names, cls)
        return cls(**names)


def check_columns(names: Mapping[str, str | None], columns: type) -> None:
    """Refuse other names for columns that a data set has not got.

    Args:
        names: Other names, by the usual ones.
        columns: The class whose fields are the usual ones.

    Raises:
        SettingError: if there is no such usual name.
    """
    allowed = [item.name for item in fields(columns)]
    for name, value in names.items():
        if name not in allowed:
            raise SettingError(f"dataset.options.columns.{name}", value, f"must be one of {', '.join(allowed)}")


def list_files(
    system: fs.FileSystem, path: str, root: str, suffixes: tuple[str, ...] = (".parquet",), kind: str = "Parquet"
) -> list[str]:
    """Paths of the files below a path, in the order of their names; those of its manifest if it has one.

    Args:
        system: Where the files are.
        path: A file or folder.
        root: The setting, for messages.
        suffixes: What names of the files end with in a folder.
        kind: What the files are, for messages.

    Raises:
        SettingError: if there is none, or a file that the manifest names is missing.
    """
    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        return [path]
    if info.type == fs.FileType.Directory:
        listed = manifest.files(system, path, root)
        if listed is not None:
            return listed
        files = sorted(file for file in _below(system, path) if file.endswith(suffixes))
        if files:
            return files
    raise SettingError("dataset.root", root, f"no such {kind} file, nor a folder of them")


def _below(system: fs.FileSystem, path: str) -> Iterator[str]:
    """Files below a folder. Links to folders are not followed: pyarrow would go round those that lead back up."""
    local = isinstance(system, fs.LocalFileSystem)
    for info in system.get_file_info(fs.FileSelector(path)):
        if info.is_file:
            yield info.path
        elif info.type == fs.FileType.Directory and not (local and os.path.islink(info.path)):
            yield from _below(system, info.path)


@dataclass(frozen=True)
class ReadFile:
    """What is read of a Parquet file when a data set is opened: all but its images.

    Attributes:
        words: The columns of text or integers that it has: integers as int64, text as strings.
        schema: Its schema, for the metadata.
        metadata: Its row groups.
    """

    words: pa.Table
    schema: pa.Schema
    metadata: pq.FileMetaData


def read_file(system: fs.FileSystem, file: str, columns: Columns, root: str) -> ReadFile:
    """Check that a file has the columns that are needed and that their types are understood, and read their words.

    Args:
        system: Where the file is.
        file: Its path.
        columns: Names of the columns.
        root: The setting, for messages.

    Raises:
        SettingError: naming the file, if it is damaged or has another number of rows than it states, and the column
            that does not fit.
    """
    with naming(file, root):
        reader = pq.ParquetFile(system.open_input_file(file), page_checksum_verification=True)
        schema, metadata = reader.schema_arrow, reader.metadata
    _check_schema(schema, file, columns, root)
    names = [name for name in (*columns.words, manifest.POSITION) if name in schema.names]
    with naming(file, root):
        stated = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        table = reader.read(columns=names, use_threads=False)
        if not len(table) == stated == metadata.num_rows:
            raise ValueError(f"it says that it has {metadata.num_rows} rows and has {len(table)}")
        table.validate(full=True)  # text that is no UTF-8, and offsets that lead elsewhere
        check_paths(system, reader, columns.image, file)
    words = {name: word(table[name], name, file, root) for name in names}
    return ReadFile(pa.table(words), schema, metadata)


def read_files(system: fs.FileSystem, files: Sequence[str], columns: Columns, root: str) -> list[ReadFile]:
    """What `read_file` reads of each file, several at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda file: read_file(system, file, columns, root), files))


def _check_schema(schema: pa.Schema, file: str, columns: Columns, root: str) -> None:
    missing = [name for name in (columns.image, columns.label, columns.domain) if name not in schema.names]
    if missing:
        lacking = f"{file} lacks the columns {', '.join(missing)}; its columns are {', '.join(schema.names)}"
        raise SettingError("dataset.root", root, f"{lacking}; dataset.options.columns renames them")
    kinds = {columns.image: (_is_image, "encoded images, or a struct with their `bytes`")}
    kinds |= {name: (is_word, "text or integers") for name in columns.words}
    kinds[manifest.POSITION] = (pa.types.is_integer, "integers")
    for name, (fits, expected) in kinds.items():
        if schema.names.count(name) > 1:
            raise SettingError("dataset.root", root, f"{file} has more than one column {name}")
        if name in schema.names and not fits(schema.field(name).type):
            allowed = f"{file}: column {name} must have {expected}; it has {schema.field(name).type}"
            raise SettingError("dataset.root", root, allowed)


def word(column: pa.ChunkedArray, name: str, file: str, root: str) -> pa.ChunkedArray:
    """The column as int64 or strings: files of one data set may have been written with other widths.

    Raises:
        SettingError: naming the file and the column, if it has empty values or too large numbers.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        raise SettingError("dataset.root", root, f"{file}: the column {name} has empty values")
    try:
        return column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.large_string())
    except pa.ArrowInvalid as error:
        allowed = f"{file}: column {name} has a number beyond 64 bits with sign: {error_text(error)}"
        raise SettingError("dataset.root", root, allowed) from error


def together(files: Sequence[str], tables: Sequence[pa.Table], root: str) -> pa.Table:
    """The words of all files as one table.

    Args:
        files: Paths of the files.
        tables: The words of each.
        root: The setting, for messages.

    Raises:
        SettingError: naming two files, if one lacks a column of the other or has text for its integers, or if there are
            no rows.
    """
    first = tables[0].schema
    for file, table in zip(files, tables, strict=True):
        for name in sorted({*first.names} ^ {*table.schema.names}):
            having, lacking = (files[0], file) if name in first.names else (file, files[0])
            raise SettingError("dataset.root", root, f"{lacking} lacks the column {name}, which {having} has")
        for name in first.names:
            kinds = [parts.field(name).type for parts in (first, table.schema)]
            if kinds[0] != kinds[1]:
                words = ["integers" if pa.types.is_integer(kind) else "text" for kind in kinds]
                allowed = f"column {name} has {words[0]} in {files[0]} and {words[1]} in {file}"
                raise SettingError("dataset.root", root, allowed)
    table = pa.concat_tables([table.select(first.names) for table in tables])
    if not len(table):
        raise SettingError("dataset.root", root, "has no rows")
    return table


@contextmanager
def naming(file: str, root: str, kind: str = "Parquet") -> Iterator[None]:
    """Turns any error of reading a file into a SettingError that names it."""
    try:
        yield
    except Exception as error:  # pyarrow raises errors of all kinds for damaged files, Python for text not in UTF-8
        raise SettingError("dataset.root", root, f"{file} is not readable as {kind}: {error_text(error)}") from error


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        kind = {field.name: field.type for field in kind}.get("bytes", kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_word(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text or integers."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))
