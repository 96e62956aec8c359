"""What every data set offers: the same classes in several domains, each with train, validation and test images."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import DatasetConfig

SPLITS = ("train", "validation", "test")


class Dataset(ABC):
    """Labelled images of the same classes in several domains.

    A subclass takes `root`, `image_size` and its own options as keyword arguments.

    Attributes:
        domains: Names of the domains, in alphabetical order.
        classes: Names of the classes; a label is an index into them.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the data set before a run: what is passed over or renumbered, a line each."""
        return ()

    @property
    def portable(self) -> bool:
        """Whether another process may be handed the opened data set, instead of opening it by itself."""
        return False

    @abstractmethod
    def labels(self, domain: str, split: str) -> NDArray[np.int64]:
        """Labels (images,) of a domain and split; decodes no image.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
        """

    @abstractmethod
    def images(self, domain: str, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode images of a domain and split.

        It is called for the images that are needed next and for no others, and the caller keeps what is decoded.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
            indices: Indices (n,) within the domain and split, in any order.

        Returns:
            RGB images (n, 3, image_size, image_size).

        Raises:
            ImageError: if one of them is missing or cannot be decoded.
        """

    def expect(self, requests: Iterable[tuple[str, str, NDArray[np.int64]]]) -> None:  # noqa: B027  optional
        """Be told what `images` will be asked for next, in order, so as to read what lies together at once.

        Args:
            requests: Domain, split and indices (n,) of every call.
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
    return instantiate(config.target, "dataset", Dataset, arguments)
