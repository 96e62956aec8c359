"""Images by domain, split and index, taken from the cache or decoded; those that cannot be read may be left out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import ImageError
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.cache import Key, open_cache
from fedra_ray.data.dataset import Dataset
from fedra_ray.data.image import Pixels, pixel_type

#: An image that was left out: its name and the reason.
Skipped = tuple[str, str]


class ImageSource:
    """Decoded images of a data set. An image is decoded once, as long as the cache has room.

    Args:
        dataset: The data set.
        config: Its settings: the cache, and what to do with an image that cannot be decoded.
        image_size: Side of an image in pixels.

    Raises:
        SettingError: if the folder of the cache cannot be made or written.
    """

    def __init__(self, dataset: Dataset, config: DatasetConfig, image_size: int) -> None:
        self.dataset = dataset
        self._cache = open_cache(config, dataset, image_size)
        self._skip = config.on_error == "skip"
        self._unreadable: dict[tuple[Key, int], Skipped] = {}
        self._shape = (3, image_size, image_size)
        self._kind = pixel_type(config.resize)

    def fetch(self, key: Key, indices: NDArray[np.int64]) -> tuple[Pixels, NDArray[np.bool_], list[Skipped]]:
        """Take or decode images.

        Args:
            key: Domain and split.
            indices: Indices (n,) within them.

        Returns:
            The images (n, 3, size, size), whether they could be read (n,), and those that could not.

        Raises:
            ImageError: for the first image that cannot be read, unless the configuration says to skip it.
        """
        images = np.zeros((len(indices), *self._shape), dtype=self._kind)
        good = np.ones(len(indices), dtype=bool)
        missing = []
        for position, index in enumerate(indices.tolist()):
            if (key, index) in self._unreadable:
                good[position] = False
            elif (kept := self._cache.get(key, index)) is not None:
                images[position] = kept
            else:
                missing.append(position)
        for position, pixels in zip(missing, self._decode(key, indices[missing]), strict=True):
            if pixels is None:
                good[position] = False
            else:
                images[position] = pixels
                self._cache.put(key, int(indices[position]), pixels.copy())
        return images, good, [self._unreadable[key, index] for index in indices[~good].tolist()]

    def _decode(self, key: Key, indices: NDArray[np.int64]) -> Sequence[Pixels | None]:
        if not len(indices):
            return []
        try:
            return list(self.dataset.images(*key, indices))
        except ImageError:
            if not self._skip:
                raise
        # decoding several at once ends at the first that is unreadable, so they are decoded one by one
        return [self._decode_one(key, index) for index in indices.tolist()]

    def _decode_one(self, key: Key, index: int) -> Pixels | None:
        try:
            pixels: Pixels = self.dataset.images(*key, np.array([index]))[0]
        except ImageError as error:
            self._unreadable[key, index] = error.args
            return None
        return pixels
