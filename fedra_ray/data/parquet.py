"""Domain data sets in Parquet: one row per image, with its encoded bytes, a label and a domain.

One file or a folder of them is read, from any file system of pyarrow.fs: the embedded data set, exports of the Hugging
Face Hub, and the shards that `fedra-ray prepare` writes.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from fedra_ray.config.errors import SettingError, error_text
from fedra_ray.config.paths import filesystem
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.image import Pixels, decode, pixel_type
from fedra_ray.data.parquet_files import Columns, ReadFile, list_files, read_files, together
from fedra_ray.data.parquet_groups import advice, row_groups
from fedra_ray.data.parquet_images import EncodedImages
from fedra_ray.data.prepare import manifest
from fedra_ray.data.rows import OfRows, Table, arrange
from fedra_ray.data.tree import held_out


class ParquetDataset(OfRows, Dataset):
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
        table = Table(files, [len(part.words) for part in read], words, [part.schema for part in read], path, root)
        self._arranged = arrange(table, names, classes, test, validation)
        self.domains, self.classes = self._arranged.domains, self._arranged.classes.names
        groups = row_groups(files, [part.metadata for part in read], names.image)
        self._encoded = EncodedImages(system, groups, names.image)
        self._arranged = self._arranged.noting(advice(groups))
        self._system, self._files = system, files

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

    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> Pixels:
        part = self._rows(domain, split)
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
        rows = [self._rows(domain, split)[indices] for domain, split, indices in requests]
        self._encoded.expect(np.concatenate([np.empty(0, dtype=np.int64), *rows]))


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
