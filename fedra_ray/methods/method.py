"""What a federated method decides. The defaults are those of federated averaging with LoRA (FedAvg, FedIT).

The server calls what decides about clients and updates, and client actors what computes with a model. Methods import
torch in the latter alone, so that a server starts without the seconds that it takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.errors import SettingError
from fedra_ray.config.plugins import instantiate
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.allocation import Matrix

if TYPE_CHECKING:
    from torch import Tensor

    from fedra_ray.model.submodel import SubModel

Vector = NDArray[np.float32]


class Method(ABC):
    """A federated method for a model of `num_layers` blocks and clients of these `depths`.

    A subclass takes its own options as further keyword arguments; conf/method/NAME.yaml sets them.

    Attributes:
        head_names: The heads of the model, shallowest first; the last one is saved as the model's head.
    """

    head_names: tuple[str, ...] = ("head",)

    def __init__(self, num_layers: int, depths: list[int]) -> None:
        self.num_layers = num_layers
        self.depths = depths

    @abstractmethod
    def allocate(self, depths: list[int], rng: np.random.Generator) -> Matrix:
        """The allocation matrix (clients, layers) of a cohort with these depths."""

    def eligible(self, depth: int) -> bool:
        """Whether a client of this depth takes part at all."""
        return True

    def held_heads(self, layers: Sequence[int]) -> tuple[str, ...]:
        """Names of the heads that a client with these layers trains."""
        return self.head_names

    def loss(self, model: SubModel, images: Tensor, labels: Tensor, layers: Sequence[int], progress: float) -> Tensor:
        """The local objective of a batch."""
        from torch.nn import functional

        return functional.cross_entropy(model.logits(images, layers), labels)

    def group(self, layers: Sequence[int]) -> int:
        """Updates of one group are summed together; a method that compares groups overrides this."""
        return 0

    def merge(self, previous: Vector, groups: dict[int, MaskedSum]) -> Vector:
        """The next global adapter from the sums of this round's updates: the masked mean over all holders."""
        total = MaskedSum(next(iter(groups.values())).segments)
        for part in groups.values():
            total.merge(part)
        return total.mean(previous)

    @property
    def evaluated_layers(self) -> tuple[int, ...]:
        """The layers of the global model that is evaluated."""
        return tuple(range(self.num_layers))

    def predict(self, model: SubModel, images: Tensor) -> Tensor:
        """Class scores (images, classes) of the global model."""
        return model.logits(images, self.evaluated_layers)


def create_method(config: ExperimentConfig, num_layers: int) -> Method:
    """The configured method.

    Raises:
        SettingError: if the target is no method, an option is unknown, or the fleet does not fit the model.
    """
    depths = config.fleet.depths
    if max(depths) > num_layers:
        allowed = f"every depth must be at most {num_layers}, the layers of {config.backbone.model}"
        raise SettingError("fleet.depths", depths, allowed)
    present = depths if config.fleet.dynamic else depths[: config.fleet.num_clients]
    arguments = {"num_layers": num_layers, "depths": present, **config.method.options}
    draw = config.allocation.draw
    if draw != "uniform":
        arguments["draw"] = draw
    try:
        return instantiate(config.method.target, "method", Method, arguments)
    except SettingError as error:
        if draw != "uniform" and error.args[0] == "method.options.draw":
            allowed = f"{config.method.target} does not draw its allocation; set it to uniform"
            raise SettingError("allocation.draw", draw, allowed) from error
        raise
