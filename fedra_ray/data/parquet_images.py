"""Encoded images of Parquet files, read by row groups. However the files are laid out, few are kept in memory."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from fedra_ray.config.errors import ImageError, error_text
from fedra_ray.data.parquet_groups import RowGroups, Rows, beside, has_paths

#: Bound on the encoded images that a process keeps, in bytes. Those of one batch and one page of a file come on top.
KEPT_BYTES = 256_000_000
#: Of row groups with fewer bytes all images are kept, as long as there is room: others may need them soon.
SMALL_BYTES = KEPT_BYTES // 64
_CHUNK_BYTES = 8_000_000  # that are read and decoded at once
_OPEN_FILES = 32

#: An encoded image, or the local file that holds it.
Content = bytes | Path
_Kept = bytes | str | None  # an encoded image, or its path beside the Parquet file, or neither


class EncodedImages:
    """Reads images, and keeps those that will be asked for next.

    Told what a pass over some images will ask for, it reads a row group once and keeps what the pass needs of it, up to
    `KEPT_BYTES`; of a pass with more bytes it keeps one part after the other, and reads a group once for each. A group
    counts as a whole: with a damaged page all of it is damaged, whichever images are asked for and in whatever order.

    Args:
        system: Where the files are.
        groups: Their row groups.
        column: Name of the column of images.
    """

    def __init__(self, system: fs.FileSystem, groups: RowGroups, column: str) -> None:
        self._system = system
        self._groups = groups
        self._column = column
        self._kept: dict[int, _Kept] = {}
        self._kept_bytes = 0
        self._spare: dict[int, None] = {}  # kept rows that may go, the oldest first
        self._expected: Rows = np.empty(0, dtype=np.int64)
        self._place: dict[int, int] = {}  # of a row among those expected
        self._ends: Rows = np.empty(0, dtype=np.int64)  # bytes of the expected images up to each, estimated
        self._window: set[int] = set()  # expected rows that are kept when their group is read
        self._damage: dict[int, str] = {}
        self._reader = lru_cache(maxsize=_OPEN_FILES)(self._open)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets one that has read nothing yet."""
        return EncodedImages, (self._system, self._groups, self._column)

    def expect(self, rows: Rows) -> None:
        """Be told which images (n,) will be asked for, in their order; what is kept of others may go."""
        mean = self._groups.sizes // np.maximum(np.diff(self._groups.starts), 1)
        self._expected, self._ends = rows, np.cumsum(mean[self._groups.of(rows)])
        self._place = {row: place for place, row in enumerate(rows.tolist())}
        self._window = set()
        self._spare = dict.fromkeys(row for row in self._kept if row not in self._place)
        self._damage.clear()  # what could not be reached may be there again

    def expects(self, rows: Rows) -> bool:
        """Whether it has been told that these images (n,) will be asked for."""
        return all(row in self._place for row in rows.tolist())

    def take(self, rows: Rows) -> Iterator[tuple[int, Content]]:
        """Pairs of a position in `rows` (n,) and an image, in no particular order; an image may be empty.

        Raises:
            ImageError: for the first image that cannot be read.
        """
        absent: list[int] = []
        for position, row in enumerate(rows.tolist()):
            if row not in self._kept:
                absent.append(position)
                continue
            kept = self._kept[row]
            self._release(row)
            yield position, self._content(row, kept)
        self._move_window(rows[absent].tolist())
        groups = self._groups.of(rows[absent])
        for group in np.unique(groups).tolist():
            positions = np.array(absent)[groups == group].tolist()
            images = self._read(group, set(rows[positions].tolist()))
            for position in positions:
                yield position, self._content(rows[position], images[rows[position]])

    def name(self, row: int, content: Content) -> str:
        """How messages call an image."""
        return self._groups.place(row) + (f", {content}" if isinstance(content, Path) else "")

    def _move_window(self, rows: list[int]) -> None:
        """Let the window begin with the first of these rows if some lie outside, or sooner if the rest fits."""
        outside = [self._place[row] for row in rows if row in self._place and row not in self._window]
        if outside:
            first = min(*outside, int(np.searchsorted(self._ends, self._ends[-1] - KEPT_BYTES)))
            before = self._ends[first - 1] if first else 0
            end = int(np.searchsorted(self._ends, before + KEPT_BYTES, side="right"))
            self._window = set(self._expected[first : max(end, first + 1)].tolist())
            self._spare |= dict.fromkeys(row for row in self._kept if row not in self._window)

    def _read(self, group: int, wanted: set[int]) -> dict[int, _Kept]:
        """The images of the wanted rows of a row group; others that may be needed are kept."""
        rows = range(*self._groups.starts[group : group + 2].tolist())
        small = self._groups.sizes[group] <= SMALL_BYTES
        images: dict[int, _Kept] = {}
        try:
            if group in self._damage:
                raise ValueError(self._damage[group])
            for row, image in self._stream(group, rows, None if small else wanted | self._window):
                if row in wanted:
                    images[row] = image
                self._keep(row, image)
        except Exception as error:  # pyarrow raises errors of all kinds for damaged files
            for row in rows:
                self._drop(row)
            self._damage[group] = error_text(error)
            raise ImageError(self._groups.place(min(wanted), with_group=True), error_text(error)) from error
        for row in wanted:
            self._release(row)
        return images

    def _stream(self, group: int, rows: range, chosen: set[int] | None) -> Iterator[tuple[int, _Kept]]:
        """Chosen rows of a group, or all, and their images; the group is read to its end in any case."""
        row = rows.start
        for column in self._columns(group, len(rows), in_parts=chosen is not None):
            fields = _fields(column)
            for position in range(len(column)):
                if chosen is None or row in chosen:
                    yield row, next((value for field in fields if (value := field[position].as_py()) is not None), None)
                row += 1
        if row != rows.stop:
            raise ValueError(f"has {row - rows.start} rows, another number than the file says")

    def _columns(self, group: int, rows: int, in_parts: bool) -> Iterable[pa.Array]:
        """The column of images of a row group, at once or in parts of some megabytes."""
        reader = self._reader(self._groups.file[group])
        number = int(self._groups.number[group])
        if not in_parts:
            chunks: list[pa.Array] = reader.read_row_group(number, columns=[self._column]).column(0).chunks
            return chunks
        mean = max(1, int(self._groups.sizes[group]) // rows)
        options = {"row_groups": [number], "columns": [self._column], "use_threads": False}
        return (batch.column(0) for batch in reader.iter_batches(max(1, _CHUNK_BYTES // mean), **options))

    def _keep(self, row: int, image: _Kept) -> None:
        """Keep an image if there is room, in the place of those that may go."""
        size = len(image or b"")
        while self._spare and self._kept_bytes + size > KEPT_BYTES:
            self._drop(next(iter(self._spare)))
        if row not in self._kept and self._kept_bytes + size <= KEPT_BYTES:
            self._kept[row] = image
            self._kept_bytes += size
            if row not in self._window:
                self._spare[row] = None

    def _release(self, row: int) -> None:
        """An image has been taken: it may go, after all that may go already."""
        self._window.discard(row)
        self._spare.pop(row, None)
        if row in self._kept:
            self._spare[row] = None

    def _drop(self, row: int) -> None:
        self._spare.pop(row, None)
        if row in self._kept:
            self._kept_bytes -= len(self._kept.pop(row) or b"")

    def _content(self, row: int, kept: _Kept) -> Content:
        """An image that may lie beside the Parquet file."""
        if not isinstance(kept, str):
            return kept or b""
        try:
            path = beside(self._groups.file_of(row), kept)
            if isinstance(self._system, fs.LocalFileSystem):
                return Path(path)
            content: bytes = self._system.open_input_file(path).read()
            return content
        except Exception as error:  # of other file systems, pyarrow raises errors of all kinds
            raise ImageError(self._groups.place(row), error_text(error)) from error

    def _open(self, file: int) -> pq.ParquetFile:
        source = self._system.open_input_file(self._groups.files[file])
        # so a column is read bit by bit, where pre_buffer would hold all of it
        return pq.ParquetFile(source, buffer_size=_CHUNK_BYTES, pre_buffer=False, page_checksum_verification=True)


def _fields(column: pa.Array) -> list[pa.Array]:
    """Encoded images, and, if there are any, paths for those that are empty."""
    if not pa.types.is_struct(column.type):
        return [column]
    names = ["bytes"]
    if has_paths(column.type):
        names.append("path")
    return [pc.struct_field(column, name) for name in names]
