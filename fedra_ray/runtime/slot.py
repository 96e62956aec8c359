"""A client actor: one slot of a capacity tier, in which any number of clients train, one after another."""

import traceback
from dataclasses import replace
from functools import lru_cache

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.backbone import Weights, normalisation
from fedra_ray.blueprint import Blueprint
from fedra_ray.evaluation import evaluate
from fedra_ray.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.training import train_client


class ClientSlot:
    """Holds the adapted model over the node's one copy of the frozen weights.

    Args:
        number: Number of the slot, for the records.
        blueprint: The experiment.
        weights: Frozen weights; arrays that Ray maps from the node's object store without a copy.
    """

    def __init__(self, number: int, blueprint: Blueprint, weights: Weights) -> None:
        torch.set_num_threads(1)  # the number of threads changes the order of sums, and so the bits
        self._number = number
        self._config = blueprint.config
        self._device = torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")
        if self._device.type == "cuda":
            torch.backends.cudnn.deterministic = True
        self._model = blueprint.model(weights).to(self._device)
        self._method = blueprint.method()
        self._fleet = blueprint.fleet()
        self._dataset = blueprint.dataset()
        mean, std = normalisation(self._config.backbone)
        self._mean, self._std = mean.to(self._device), std.to(self._device)
        self._client_data = lru_cache(maxsize=64)(self._load_client)

    def train(
        self, tasks: list[tuple[ClientTask, int]], values: NDArray[np.float32]
    ) -> list[ClientUpdate | ClientFailure]:
        """Train a batch of (task, attempt) from the global adapter; an error of one client leaves the others alone."""
        results: list[ClientUpdate | ClientFailure] = []
        for task, attempt in tasks:
            try:
                images, labels = self._client_data(task.client)
                seed, training = self._config.seed, self._config.training
                update = train_client(self._model, self._method, images, labels, values, task, training, seed)
                results.append(replace(update, slot=self._number, attempt=attempt))
            except Exception:  # whatever a method or data set raises belongs to this client's failure
                results.append(ClientFailure(task, traceback.format_exc()))
        return results

    def evaluate(self, domain: str, split: str, values: NDArray[np.float32]) -> Score:
        """Score the global adapter on one domain."""
        indices = np.arange(len(self._dataset.labels(domain, split)))
        images, labels = self._load(domain, split, indices)
        size = self._config.evaluation.batch_size
        return evaluate(self._model, self._method, images, labels, values, domain, split, size)

    def _load_client(self, client: int) -> tuple[Tensor, Tensor]:
        return self._load(self._fleet.domain(client), "train", self._fleet.examples(client, self._dataset))

    def _load(self, domain: str, split: str, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(self._dataset.images(domain, split, indices)).to(self._device)
        labels = torch.from_numpy(self._dataset.labels(domain, split)[indices]).to(self._device)
        return (pixels.float() / 255 - self._mean) / self._std, labels
