"""What all parts of an experiment share. Loads neither model nor data, so that every process can have it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.cost.law import CostModel
from fedra_ray.data.dataset import Labelled
from fedra_ray.data.division import Division
from fedra_ray.data.opening import open_labelled
from fedra_ray.federation.fleet import Fleet
from fedra_ray.federation.layout import Layout
from fedra_ray.federation.shards import Shard, shards
from fedra_ray.federation.storage import FrozenBytes, Storage
from fedra_ray.methods.create import create_method
from fedra_ray.methods.method import Method


@dataclass(frozen=True)
class Blueprint:
    """What server and client actors share about an experiment; small, and the same for all of them.

    Attributes:
        config: The experiment.
        layout: How the adapter lies in its flat vector.
        targets: Where LoRA goes: module paths inside a block.
        input_size: Side of an image in pixels, or tokens of the longest text.
        domains: Names of the domains.
        classes: Names of the classes.
        frozen: Bytes of the frozen weights.
        cost: What sub-models cost; None unless a setting of the fleet needs it: memory_mb or devices.
        opened: The data set, if a process has opened it already.
        block_path: Where the blocks are in the plain model: `blocks` in timm's.
    """

    config: ExperimentConfig
    layout: Layout
    targets: tuple[str, ...]
    input_size: int
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    frozen: FrozenBytes
    cost: CostModel | None = None
    opened: Labelled | None = field(default=None, repr=False, compare=False)
    block_path: str = "blocks"

    @property
    def num_layers(self) -> int:
        """Layers of the full model."""
        return len(self.layout.layers)

    def method(self) -> Method:
        """The federated method, within its optimisers; a new object at every call."""
        return create_method(self.config, self.num_layers, self.fleet())

    def fleet(self) -> Fleet:
        """The fleet: domain, depth and device of every client."""
        return Fleet(self.config, self.domains)

    def storage(self, held: NDArray[np.uint8] | None = None) -> Storage:
        """What clients hold of the frozen weights: as a restart point has it, or nothing before the first round."""
        empty = Storage.empty(self.frozen, self.config.fleet.storage, self.config.fleet.num_clients)
        return empty if held is None else replace(empty, held=held)

    def division(self) -> Division:
        """Which training images each client has."""
        return Division(self.config, self.dataset)

    @cached_property
    def dataset(self) -> Labelled:
        """The data set; opened in every process that asks for it, unless it could be handed to it."""
        return self.opened or open_labelled(self.config.dataset, self.config.backbone, self.input_size)

    def shards(self) -> list[Shard]:
        """The parts of the evaluation images that are evaluated side by side."""
        evaluation = self.config.evaluation
        images = {domain: len(self.dataset.labels(domain, evaluation.split)) for domain in self.domains}
        return shards(images, evaluation.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        """All but an opened data set that cannot be handed to another process: it opens its own."""
        portable = self.opened if self.opened is not None and self.opened.portable else None
        return {name: value for name, value in self.__dict__.items() if name != "dataset"} | {"opened": portable}
