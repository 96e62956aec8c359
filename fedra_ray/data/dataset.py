"""What every data set offers: the same classes in several domains, each with train, validation and test examples."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import DatasetConfig
from fedra_ray.data.classes import check_number
from fedra_ray.data.image import Pixels

SPLITS = ("train", "validation", "test")


class Labelled(ABC):
    """Labelled examples of the same classes in several domains; a subclass says what they are.

    Attributes:
        domains: Names of the domains, in alphabetical order.
        classes: Names of the classes; a label is an index into them.
        noun: What the examples are, for messages.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]
    noun: str

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
        """Labels (examples,) of a domain and split; reads no example.

        Args:
            domain: One of `domains`.
            split: train, validation or test.
        """

    @property
    def class_numbers(self) -> tuple[int, ...]:
        """The number that the data set itself gives to each class, in the order of labels."""
        return tuple(range(len(self.classes)))


class Dataset(Labelled):
    """Labelled images of the same classes in several domains.

    A subclass takes `root`, `image_size` and its own options as keyword arguments, and `resize` if it can resize in
    other ways than the default one.
    """

    noun = "images"

    def fingerprint(self, domain: str, split: str) -> bytes:
        """What changes when the images of a domain and split do, so that no others are taken from `dataset.cache`.

        The default knows no change but that of labels: the folder must be emptied when images change.
        """
        return b""

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

    def expect(self, requests: Iterable[tuple[str, str, NDArray[np.int64]]]) -> None:
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
    if config.resize != DatasetConfig.resize:
        arguments["resize"] = config.resize
    advice = "; texts are for a language model: backbone=hf backbone.model=hf:..., or prepare tokenizer=hf:..."
    dataset = instantiate(config.target, "dataset", Dataset, arguments, advice)
    check_number(dataset.classes, config.root)
    return dataset


def in_numbers(dataset: Labelled) -> str:
    """Numbers of domains, classes, and examples per split, for a person."""
    images = [sum(len(dataset.labels(domain, split)) for domain in dataset.domains) for split in SPLITS]
    counted = ", ".join(f"{number:,} {split}" for number, split in zip(images, SPLITS, strict=True))
    return f"{len(dataset.domains)} domains, {len(dataset.classes)} classes, {counted} {dataset.noun}"
