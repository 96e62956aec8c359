"""A client actor: one slot of a capacity tier, in which any number of clients train, one after another."""

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import ray
from numpy.typing import NDArray

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.errors import RunFailedError
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.shards import Shard

if TYPE_CHECKING:
    from fedra_ray.model.backbone import FrozenWeights


class ClientSlot:
    """A site in a process of its own, over the node's one copy of the frozen weights.

    Args:
        number: Number of the slot, for the records.
        blueprint: The experiment.
        weights: Frozen weights; arrays that Ray maps from the node's object store without a copy.
    """

    def __init__(self, number: int, blueprint: Blueprint, weights: "FrozenWeights") -> None:
        import torch  # here, because the server names this class too and must start without torch and timm

        from fedra_ray.client.host import Site

        on_gpu = ray.get_gpu_ids() and torch.cuda.is_available()
        self._number = number
        self._site = Site(blueprint, weights, "cuda" if on_gpu else "cpu")

    def train(self, tasks: list[tuple[ClientTask, int]], values: NDArray[np.float32]) -> PartialRound:
        """Train a batch of (task, attempt) from the global adapter; an error of one client leaves the others alone."""
        return self._site.reduce((self._answer(task, attempt, values) for task, attempt in tasks), values)

    def evaluate(self, shard: Shard, values: NDArray[np.float32]) -> Score:
        """Score of the global adapter on a shard of a domain."""
        return self._site.evaluate_one(shard, values)

    def _answer(self, task: ClientTask, attempt: int, values: NDArray[np.float32]) -> ClientUpdate | ClientFailure:
        try:
            return replace(self._site.train_one(task, values), slot=self._number, attempt=attempt)
        except RunFailedError:  # another attempt would end the same
            raise
        except Exception:  # whatever a method or data set raises belongs to this client's failure
            return ClientFailure(task, traceback.format_exc())
