"""Where clients are simulated: one adapted model, the data, and the method, for any number of clients in turn."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedra_ray.assembly import adapted_model
from fedra_ray.backbone import Weights, normalisation
from fedra_ray.blueprint import Blueprint
from fedra_ray.evaluation import evaluate
from fedra_ray.messages import ClientTask, ClientUpdate, Score
from fedra_ray.training import train_client

Vector = NDArray[np.float32]


class Site:
    """Trains clients and evaluates global adapters, one after another, in this process.

    It carries out `experiment.Workers` by itself; a Ray client actor is a site that others call.

    Args:
        blueprint: The experiment.
        weights: Frozen weights, shared and not copied.
        device: Where to compute.
    """

    def __init__(self, blueprint: Blueprint, weights: Weights, device: str = "cpu") -> None:
        torch.set_num_threads(1)  # the number of threads changes the order of sums, and so the bits
        torch.backends.cudnn.deterministic = True
        self._config = blueprint.config
        self._domains = blueprint.domains
        self._device = torch.device(device)
        self._model = adapted_model(blueprint, weights).to(self._device)
        self._method = blueprint.method()
        self._fleet = blueprint.fleet()
        self._dataset = blueprint.dataset()
        self._mean, self._std = (part.to(self._device) for part in normalisation(self._config.backbone))
        self._client_data = lru_cache(maxsize=64)(self._load_client)
        self._domain_data = lru_cache(maxsize=16)(self._load_domain)

    def train_one(self, task: ClientTask, values: Vector) -> ClientUpdate:
        """One client's local training from the global adapter."""
        images, labels = self._client_data(task.client)
        config = self._config
        return train_client(self._model, self._method, images, labels, values, task, config.training, config.seed)

    def evaluate_one(self, domain: str, values: Vector) -> Score:
        """Score of the global adapter on one domain."""
        images, labels = self._domain_data(domain)
        split, batch_size = self._config.evaluation.split, self._config.evaluation.batch_size
        return evaluate(self._model, self._method, images, labels, values, domain, split, batch_size)

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[ClientUpdate]:
        """Train every task, in the given order."""
        return (self.train_one(task, values) for task in tasks)

    def evaluate(self, values: Vector) -> list[Score]:
        """Scores of the global adapter, a domain each."""
        return [self.evaluate_one(domain, values) for domain in self._domains]

    def _load_client(self, client: int) -> tuple[Tensor, Tensor]:
        return self._load(self._fleet.domain(client), "train", self._fleet.examples(client, self._dataset))

    def _load_domain(self, domain: str) -> tuple[Tensor, Tensor]:
        split = self._config.evaluation.split
        return self._load(domain, split, np.arange(len(self._dataset.labels(domain, split))))

    def _load(self, domain: str, split: str, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(self._dataset.images(domain, split, indices)).to(self._device)
        labels = torch.from_numpy(self._dataset.labels(domain, split)[indices]).to(self._device)
        return (pixels.float() / 255 - self._mean) / self._std, labels
