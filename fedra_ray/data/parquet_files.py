"""The Parquet files of a data set: finding them, and checking what they hold. None of them is trusted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.data.prepare import manifest


@dataclass(frozen=True)
class Columns:
    """Names of the columns. Labels and domains are text or integers, images are bytes or a struct with `bytes`."""

    image: str = "image"
    label: str = "label"
    label_name: str = "label_name"
    domain: str = "domain"
    split: str = "split"

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
        allowed = [item.name for item in fields(cls)]
        for name, value in names.items():
            if name not in allowed:
                raise SettingError(f"dataset.options.columns.{name}", value, f"must be one of {', '.join(allowed)}")
        return cls(**names)


def list_files(system: fs.FileSystem, path: str, root: str) -> list[str]:
    """Paths of the Parquet files below a path, in the order of their names; those of its manifest if it has one.

    Args:
        system: Where the files are.
        path: A file or folder.
        root: The setting, for messages.

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
        files = sorted(file for file in _below(system, path) if file.endswith(".parquet"))
        if files:
            return files
    raise SettingError("dataset.root", root, "no such Parquet file, nor a folder of them")


def _below(system: fs.FileSystem, path: str) -> Iterator[str]:
    """Files below a folder. Links to folders are not followed: pyarrow would go round those that lead back up."""
    local = isinstance(system, fs.LocalFileSystem)
    for info in system.get_file_info(fs.FileSelector(path)):
        if info.is_file:
            yield info.path
        elif info.type == fs.FileType.Directory and not (local and os.path.islink(info.path)):
            yield from _below(system, info.path)


def open_file(system: fs.FileSystem, file: str, columns: Columns, root: str) -> pq.ParquetFile:
    """Open a file, and check that it has the columns that are needed and that their types are understood.

    Args:
        system: Where the file is.
        file: Its path.
        columns: Names of the columns.
        root: The setting, for messages.

    Raises:
        SettingError: naming the file, and the column that does not fit.
    """
    with _naming(file, root):
        reader = pq.ParquetFile(system.open_input_file(file), page_checksum_verification=True)
        schema = reader.schema_arrow
        present = schema.names
    missing = [name for name in (columns.image, columns.label, columns.domain) if name not in present]
    if missing:
        lacking = f"{file} lacks the columns {', '.join(missing)}; its columns are {', '.join(present)}"
        raise SettingError("dataset.root", root, f"{lacking}; dataset.options.columns renames them")
    kinds = {columns.image: (_is_image, "encoded images, or a struct with their `bytes`")}
    kinds |= {name: (_is_word, "text or integers") for name in columns.words}
    kinds[manifest.POSITION] = (pa.types.is_integer, "integers")
    for name, (fits, expected) in kinds.items():
        if present.count(name) > 1:
            raise SettingError("dataset.root", root, f"{file} has more than one column {name}")
        if name in present and not fits(schema.field(name).type):
            allowed = f"{file}: column {name} must have {expected}; it has {schema.field(name).type}"
            raise SettingError("dataset.root", root, allowed)
    return reader


def read_columns(reader: pq.ParquetFile, names: list[str], file: str, root: str) -> pa.Table:
    """Read some columns of all rows.

    Args:
        reader: The file.
        names: Names of the columns.
        file: Path of the file, for messages.
        root: The setting, for messages.

    Raises:
        SettingError: naming the file, if it is damaged or has another number of rows than it states.
    """
    with _naming(file, root):
        stated = sum(reader.metadata.row_group(group).num_rows for group in range(reader.num_row_groups))
        table = reader.read(columns=names)
        if not len(table) == stated == reader.metadata.num_rows:
            raise ValueError(f"it says that it has {reader.metadata.num_rows} rows and has {len(table)}")
        table.validate(full=True)  # text that is no UTF-8, and offsets that lead elsewhere
    return table


@contextmanager
def _naming(file: str, root: str) -> Iterator[None]:
    """Turns any error of reading a file into a SettingError that names it."""
    try:
        yield
    except Exception as error:  # pyarrow raises errors of all kinds for damaged files, Python for text not in UTF-8
        raise SettingError("dataset.root", root, f"{file} is not readable as Parquet: {error_text(error)}") from error


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        kind = {field.name: field.type for field in kind}.get("bytes", kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_word(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))
