"""What every data set offers: the same classes in several domains, each with train, validation and test images."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import DatasetConfig

SPLITS = ("train", "validation", "test")


class Dataset(ABC):
    """A domain data set. A subclass takes `root`, `image_size` and its own options as keyword arguments.

    Attributes:
        domains: Names of the domains, in alphabetical order.
        classes: Names of the classes; a label is an index into them.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]

    @abstractmethod
    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        """Labels (images,) of one domain and split, without decoding an image."""

    @abstractmethod
    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decoded images (len(indices), 3, image_size, image_size); indices count within the domain and split.

        Called with the images that are needed next and no others; what is decoded is kept by the caller.

        Raises:
            ImageError: if one of them is missing or cannot be decoded.
        """


def open_dataset(config: DatasetConfig, image_size: int) -> Dataset:
    """The configured data set, at the backbone's input size in pixels.

    Raises:
        SettingError: if the target is no data set, its options do not fit, or its root cannot be read.
    """
    if not config.root:
        raise SettingError("dataset.root", config.root, "name the file or folder that holds the images")
    arguments = {"root": config.root, "image_size": image_size, **config.options}
    return instantiate(config.target, "dataset", Dataset, arguments)
