"""Examples in the batches that a backbone takes: images, or texts for a language model."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data.cache import open_cache
from fedra_ray.data.dataset import Dataset, Labelled
from fedra_ray.data.division import Share
from fedra_ray.data.examples import Examples
from fedra_ray.data.source import ImageSource, Skipped
from fedra_ray.data.text.dataset import InstructionDataset, TextDataset
from fedra_ray.data.text.examples import AnswerExamples, TextExamples
from fedra_ray.model.backbone import normalisation
from fedra_ray.model.submodel import Batch

Indices = NDArray[np.int64]


class AnyExamples(Protocol):
    """Labelled examples of one client, or of one domain's evaluation.

    Attributes:
        split: train, validation or test.
        skipped: Examples that have been left out so far because they cannot be read.
    """

    split: str

    @property
    def skipped(self) -> AbstractSet[Skipped]: ...

    def __len__(self) -> int: ...

    def in_turn(self, batch_size: int) -> list[Indices]:
        """Positions of batches that go through all examples once."""

    def batches(self, order: Sequence[Indices]) -> Iterator[Batch]:
        """The examples at every array of positions, without those that cannot be read."""


def check_examples(config: ExperimentConfig, dataset: Labelled, input_size: int, vocabulary: int | None) -> None:
    """Refuse examples that the model cannot take or that cannot be kept.

    Args:
        config: The experiment.
        dataset: Its data set.
        input_size: Side of an image in pixels, or tokens of the longest text.
        vocabulary: How many tokens a language model knows.

    Raises:
        SettingError: if the folder of the cache cannot be made, or the tokenizer has more tokens than the model.
    """
    if isinstance(dataset, TextDataset):
        if vocabulary is not None and dataset.largest >= vocabulary:
            allowed = f"its tokenizer makes the token {dataset.largest}, and the model knows {vocabulary} alone"
            raise SettingError("backbone.model", config.backbone.model, allowed)
    else:
        open_cache(config.dataset, cast(Dataset, dataset), input_size)


def examples_of(
    config: ExperimentConfig, dataset: Labelled, input_size: int, device: torch.device
) -> Callable[[str, Share], AnyExamples]:
    """A function from a split, domains and indices to examples that the model takes, on a device."""
    if isinstance(dataset, InstructionDataset):
        return lambda split, share: AnswerExamples(dataset, split, share, device, input_size)
    if isinstance(dataset, TextDataset):
        return lambda split, share: TextExamples(dataset, split, share, device, input_size)
    source = ImageSource(cast(Dataset, dataset), config.dataset, input_size)
    mean, std = (part.to(device) for part in normalisation(config.backbone))
    return lambda split, share: Examples(source, split, share, mean, std)
