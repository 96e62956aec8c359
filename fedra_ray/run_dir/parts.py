"""Rows of rounds, written in parts as rounds end, since neither Parquet files nor objects of a store can grow."""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fedra_ray.run_dir.folder import Folder

FOLDER = "records"
_SUFFIX = ".parquet"
_MERGED = 50  # parts that become one: readers open few files, and no row is written more than twice
_MOST_ROUNDS = 2**31 - 1


class _Part(NamedTuple):
    """A file, named after its first and its last round; parts compare by these."""

    first: int
    last: int

    @property
    def file(self) -> str:
        return f"{self.first:06d}-{self.last:06d}{_SUFFIX}"


class Parts:
    """Files of a run whose rows are rounds, in the folder `records`: rows are added at the end and never rewritten.

    Files may overlap where the process was killed while it replaced some by others. Then the one that begins later
    holds: every round is read once.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder.below(FOLDER)
        self._small: list[_Part] = []

    @property
    def any(self) -> bool:
        """Whether there are any rows."""
        return bool(self._listed())

    def append(self, rounds: pa.Table) -> None:
        """Write rows, one a round, that follow those that are there.

        Args:
            rounds: Has a column `round`, ascending.

        Raises:
            RunFailedError: if they cannot be written.
        """
        self._small.append(self._write(rounds))
        if len(self._small) == _MERGED:
            small, self._small = self._small, []
            self._write(pa.concat_tables(self._read(part, None) for part in small))
            for part in small:  # ascending, so that those that are left after a kill still hold all later rounds
                self._folder.delete(part.file)

    def cut(self, last_round: int) -> None:
        """Drop the rounds after one."""
        for part in self._listed():
            if part.first <= last_round < part.last:
                rounds = self._read(part, None)
                self._write(rounds.filter(pc.less_equal(rounds["round"], last_round)))
            if part.last > last_round:
                self._folder.delete(part.file)

    def read(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows in the order of their rounds, a file at a time.

        Args:
            columns: Besides `round`; None for all.

        Raises:
            FileNotFoundError: if a file was replaced meanwhile.
            pa.ArrowException: if one is damaged.
        """
        parts = self._listed()
        ends = [part.first for part in parts[1:]] + [_MOST_ROUNDS]
        for part, end in zip(parts, ends, strict=False):
            rounds = self._read(part, columns)
            yield rounds.filter(pc.less(rounds["round"], end))

    def clear(self) -> None:
        """Delete them all."""
        self._small = []
        self._folder.clear()

    def _write(self, rounds: pa.Table) -> _Part:
        part = _Part(rounds["round"][0].as_py(), rounds["round"][-1].as_py())
        self._folder.write(part.file, to_parquet(rounds))
        return part

    def _read(self, part: _Part, columns: list[str] | None) -> pa.Table:
        content = self._folder.read(part.file)
        if content is None:
            raise FileNotFoundError(f"{self._folder}/{part.file}")
        try:
            return from_parquet(content, columns and ["round", *columns])
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"{FOLDER}/{part.file}: {error}") from error

    def _listed(self) -> list[_Part]:
        """The files that are there, in order."""
        stems = [name.removesuffix(_SUFFIX) for name in self._folder.names() if name.endswith(_SUFFIX)]
        return sorted(_Part(*map(int, stem.split("-"))) for stem in stems)


def from_parquet(content: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table, or columns of it, that the content of a Parquet file holds.

    Raises:
        pa.ArrowException: if it is damaged.
    """
    # in this thread: pyarrow's own may abort a process that ends right after they have read (apache/arrow, issue 34314)
    return pq.read_table(pa.BufferReader(content), columns=columns, use_threads=False, pre_buffer=False)


def to_parquet(table: pa.Table) -> bytes:
    """The table as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
