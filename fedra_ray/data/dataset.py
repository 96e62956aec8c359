"""What every data set offers: the same classes in several domains, each with train, validation and test images."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.image import Pixels

SPLITS = ("train", "validation", "test")


class Dataset(ABC):
    """Labelled images of the same classes in several domains.

    A subclass takes `root`, `image_size` and its own options as keyword arguments, and `resize` if it can resize in
    other ways than the default one.

    Attributes:
        domains: Names of the domains, in alphabetical order.
        classes: Names of the classes; a label is an index into them.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]

    @abstractmethod
    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        """Labels (images,) of a domain and split; decodes no image.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
        """

    @abstractmethod
    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> Pixels:
        """Decode images of a domain and split.

        It is called for the images that are needed next and for no others, and the caller keeps what is decoded.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
            indices: Indices (n,) within the domain and split, in any order.

        Returns:
            RGB images (n, 3, image_size, image_size), of the type that `fedra_ray.data.image.pixel_type` tells.

        Raises:
            ImageError: if one of them is missing or cannot be decoded.
        """


def open_dataset(config: DatasetConfig, image_size: int) -> Dataset:
    """The configured data set.

    Args:
        config: Its class, root and options.
        image_size: Side in pixels of the images that it returns.

    Raises:
        SettingError: if the target is no data set, its options do not fit, or its root cannot be read.
    """
    if not config.root:
        raise SettingError("dataset.root", config.root, "name the file or folder that holds the images")
    arguments = {"root": config.root, "image_size": image_size, **config.options}
    if config.resize != DatasetConfig.resize:
        arguments["resize"] = config.resize
    return instantiate(config.target, "dataset", Dataset, arguments)
