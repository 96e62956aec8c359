"""What Parquet files say of their row groups, and where images are that they name instead of holding them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

#: Row groups with more bytes are worth a word: reading one takes as long as decoding some hundred images.
LARGE_BYTES = 32_000_000
_SHOWN = 200  # characters of a path in a message

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class RowGroups:
    """Where the row groups of all files are; rows and groups are numbered through all files.

    Attributes:
        files: Paths of the files.
        file: The file of every group (groups,), as an index into `files`.
        number: Its number within the file (groups,).
        starts: Its first row (groups,), and the end.
        sizes: Bytes of its images (groups,), encoded as they are.
    """

    files: tuple[str, ...]
    file: Rows
    number: Rows
    starts: Rows
    sizes: Rows

    def of(self, rows: Rows) -> Rows:
        """The groups (n,) of rows (n,)."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def file_of(self, row: int) -> str:
        """The file of a row."""
        return self.files[int(self.file[self.of(np.array([row]))[0]])]

    def place(self, row: int, with_group: bool = False) -> str:
        """The file of a row, and its number there; with that of its group if it is the group's fault."""
        group = int(self.of(np.array([row]))[0])
        first = self.starts[group - self.number[group]]  # groups of a file follow one another
        between = f"row group {self.number[group]}: " if with_group else ""
        return f"{self.file_of(row)}, {between}row {row - first}"


def row_groups(files: Sequence[str], metadata: Iterable[pq.FileMetaData], image: str) -> RowGroups:
    """The row groups of files.

    Args:
        files: Paths of the files.
        metadata: What each says of itself.
        image: Name of the column of images.
    """
    listed = [
        (file, number, group.num_rows, sum(part.total_uncompressed_size for part in _chunks(group, image)))
        for file, parts in enumerate(metadata)
        for number in range(parts.num_row_groups)
        for group in (parts.row_group(number),)
    ]
    file, number, rows, sizes = np.array(listed, dtype=np.int64).reshape(-1, 4).T
    return RowGroups(tuple(files), file, number, np.cumsum([0, *rows]), sizes)


def _chunks(group: pq.RowGroupMetaData, column: str) -> Iterator[pq.ColumnChunkMetaData]:
    """What a row group says of a column, or of the fields of a struct."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema.partition(".")[0] == column:
            yield chunk


def advice(groups: RowGroups) -> tuple[str, ...]:
    """A line for a person if row groups are so large that reading them takes longer than it need, else none."""
    largest = int(groups.sizes.argmax())
    if groups.sizes[largest] <= LARGE_BYTES:
        return ()
    rows = groups.starts[largest + 1] - groups.starts[largest]
    size = f"{rows:,} images and {groups.sizes[largest] / 1e6:,.0f} MB"
    return (f"row groups have up to {size}, and any image needs a whole one; `fedra-ray prepare` writes small ones",)


def check_paths(system: fs.FileSystem, reader: pq.ParquetFile, column: str, file: str) -> None:
    """Refuse a file with row groups that hold no bytes of images, unless it names files beside it instead.

    Args:
        system: Where the file is.
        reader: The file.
        column: Name of the column of images.
        file: Path of the file.

    Raises:
        ValueError: if a path is missing or leaves the folder, or there is no file at the first one.
    """
    without = [
        group for group in range(reader.num_row_groups) if _has_no_bytes(reader.metadata.row_group(group), column)
    ]
    if not without:
        return
    place = f"{column}.path"
    if not has_paths(reader.schema_arrow.field(column).type):
        raise ValueError(f"column {column} has no images in row group {without[0]}")
    paths = pc.struct_field(reader.read_row_groups(without, columns=[place]).column(0), "path")
    if paths.null_count:
        raise ValueError(f"column {column} has neither bytes nor paths in row group {without[0]}")
    for path in paths.to_pylist():
        beside(file, path)
    if system.get_file_info(beside(file, path := paths[0].as_py())).type != fs.FileType.File:
        raise ValueError(f"column {column} has paths without bytes, and there is no file {path[:_SHOWN]} beside it")


def has_paths(kind: pa.DataType) -> bool:
    """Whether images of this type may have paths."""
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return False
    path = kind.field("path").type
    return bool(pa.types.is_string(path) or pa.types.is_large_string(path))


def _has_no_bytes(group: pq.RowGroupMetaData, column: str) -> bool:
    """Whether a row group says that all its images are empty."""
    for chunk in _chunks(group, column):
        if chunk.path_in_schema in (column, f"{column}.bytes"):
            known = chunk.statistics
            return known is not None and known.has_null_count and known.null_count == group.num_rows > 0
    return False


def beside(file: str, path: str) -> str:
    """The path of an image that a Parquet file names instead of holding it.

    Args:
        file: Path of the Parquet file.
        path: Path of the image, relative to the folder of that file.

    Raises:
        ValueError: if it leaves the folder.
    """
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts or "\0" in path or not inside.parts:
        raise ValueError(f"{path[:_SHOWN]!r} must be a path below the folder of the Parquet file")
    return f"{file.rpartition('/')[0]}/{inside}"
