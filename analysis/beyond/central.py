"""An adapted model and all domains' images together, for measurements without a federation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.properties.data import Data, Split, load_data
from fedra_ray import compose
from fedra_ray.config.schema import LoraConfig
from fedra_ray.model.backbone import build, find_targets, input_size
from fedra_ray.model.submodel import SubModel
from fedra_ray.model.weights import from_weights, load_weights

LORA = LoraConfig(rank=8, alpha=16, dropout=0.0)
EVALUATED = 256


@dataclass(frozen=True)
class Bench:
    """A backbone and a data set.

    Attributes:
        load: Makes the adapted model anew, with one head.
        data: The splits.
    """

    load: Callable[[], SubModel]
    data: Data

    def fresh(self, seed: int) -> SubModel:
        """The model at the first values of a seed, with everything trained."""
        model = self.load()
        layout = model.layout
        model.load(layout.initial(seed), layout.held(range(len(model.blocks)), ("head",)))
        model.seed(seed)
        return model


def bench(dataset: str, backbone: str) -> Bench:
    """Load both.

    Raises:
        SettingError: for a data set or backbone that cannot be loaded.
    """
    config = compose(f"dataset={dataset}", f"backbone={backbone}")
    weights = load_weights(config.backbone)
    data = load_data(config.dataset, config.backbone, input_size(build(config.backbone)))

    def load() -> SubModel:
        frozen = from_weights(config.backbone, weights)
        return SubModel(frozen, find_targets(frozen, None), LORA, ("head",), len(data.classes), fused=False)

    return Bench(load, data)


def batches(split: Split, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random images (size, 3, side, side) and labels (size,)."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(split.labels), (size,), generator=generator)
        yield split.images[chosen], split.labels[chosen]


@torch.no_grad()
def accuracy(scores: Callable[[Tensor], Tensor], split: Split) -> float:
    """Mean accuracy over domains, in [0, 1], of what gives class scores (n, classes) of images."""
    return split.mean_accuracy(torch.cat([scores(images) for images in split.images.split(EVALUATED)]).argmax(1))
