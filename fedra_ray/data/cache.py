"""Decoded images, kept for later use in a process's memory or in a folder that all processes of a node share."""

import hashlib
import math
import os
import tempfile
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
from numpy.typing import DTypeLike

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.image import Pixels, pixel_type

Key = tuple[str, str]  # domain and split
_CHECK_BYTES = 8


class Cache(Protocol):
    """Where decoded images of shape (3, size, size) are kept, by domain, split and index."""

    def get(self, key: Key, index: int) -> Pixels | None:
        """The image, or None if it is not kept."""

    def put(self, key: Key, index: int, pixels: Pixels) -> None:
        """Keep the image, if there is room."""


class MemoryCache:
    """Keeps the first images that it is given, up to a bound.

    It replaces none: training goes through all of a client's images again and again, so an older image is as likely to
    be needed as a newer one.

    Args:
        megabytes: The bound, in units of 10^6 bytes.
    """

    def __init__(self, megabytes: int) -> None:
        self._room = megabytes * 1_000_000
        self._kept: dict[tuple[Key, int], Pixels] = {}

    def get(self, key: Key, index: int) -> Pixels | None:
        return self._kept.get((key, index))

    def put(self, key: Key, index: int, pixels: Pixels) -> None:
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[key, index] = pixels


class NodeCache:
    """Two sparse files per domain and split: the pixels, and one checksum per image, which says whether it is there.

    Any number of processes may read and write at once: they write the same bytes, and an image whose checksum does not
    fit is decoded again. The files are not mapped into memory, because touching a mapped hole kills the process if the
    disk is full.

    Args:
        folder: The folder; made if absent. Files of other data sets or sizes may lie there too.
        dataset: The data set whose images are kept.
        identity: What tells this data set from others.
        image_size: Side of an image in pixels.
        kind: Type of its pixels.

    Raises:
        SettingError: if the folder cannot be made or written.
    """

    def __init__(self, folder: Path, dataset: Dataset, identity: str, image_size: int, kind: DTypeLike) -> None:
        self._folder = folder
        self._dataset = dataset
        self._identity = identity
        self._shape = (3, image_size, image_size)
        self._kind = np.dtype(kind)
        self._open: dict[Key, tuple[int, int]] = {}
        self._full = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise SettingError(
                "dataset.cache", folder, f"is no folder that can be written: {error.strerror}"
            ) from error

    def get(self, key: Key, index: int) -> Pixels | None:
        image_file, check_file = self._files(key)
        size = math.prod(self._shape) * self._kind.itemsize
        content = os.pread(image_file, size, index * size)
        if os.pread(check_file, _CHECK_BYTES, index * _CHECK_BYTES) != _check(content):
            return None
        return np.frombuffer(content, dtype=self._kind).reshape(self._shape)

    def put(self, key: Key, index: int, pixels: Pixels) -> None:
        if self._full:
            return
        image_file, check_file = self._files(key)
        content = pixels.tobytes()
        try:
            os.pwrite(image_file, content, index * len(content))
            os.pwrite(check_file, _check(content), index * _CHECK_BYTES)
        except OSError:  # no space left: what is here stays useful, the rest is decoded whenever it is needed
            self._full = True

    def _files(self, key: Key) -> tuple[int, int]:
        """Descriptors of the pixels and of the checksums."""
        if key not in self._open:
            described = repr((PIL.__version__, self._identity, self._shape, self._kind.str, key)).encode()
            content = self._dataset.labels(*key).tobytes() + self._dataset.fingerprint(*key)
            base = self._folder / hashlib.sha256(described + content).hexdigest()[:24]
            flags = os.O_RDWR | os.O_CREAT
            self._open[key] = os.open(f"{base}.pixels", flags, 0o644), os.open(f"{base}.checks", flags, 0o644)
        return self._open[key]


def open_cache(config: DatasetConfig, dataset: Dataset, image_size: int) -> Cache:
    """The cache that `dataset.cache` and `dataset.memory_mb` ask for.

    Args:
        config: The settings of the data set.
        dataset: The data set whose images are kept.
        image_size: Side of an image in pixels.

    Raises:
        SettingError: if its folder cannot be made or written.
    """
    if config.cache is None:
        return MemoryCache(config.memory_mb)
    root = config.root if "://" in config.root else str(Path(config.root).expanduser().absolute())
    identity = repr((config.target, root, sorted(config.options.items())))
    return NodeCache(Path(config.cache).expanduser(), dataset, identity, image_size, pixel_type(config.resize))


def _check(content: bytes) -> bytes:
    """A checksum. It is never zero, because files are zero where nothing was written."""
    return (zlib.crc32(content) << 1 | 1).to_bytes(_CHECK_BYTES, "little")
