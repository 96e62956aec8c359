"""Where clients are simulated: one adapted model, the data, and the method, for any number of clients in turn."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch

from fedra_ray.blueprint import Blueprint
from fedra_ray.client.evaluation import evaluate
from fedra_ray.client.server_work import compute
from fedra_ray.client.training import train_client
from fedra_ray.data.division import Division, Share
from fedra_ray.data.feeding import AnyExamples, examples_of
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound, reduce
from fedra_ray.federation.shards import Shard, total_scores
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.model.weights import FrozenWeights
from fedra_ray.preflight import adapted_model


class ClientHost:
    """Trains clients and evaluates global adapters, one after another, in this process.

    It carries out `experiment.Workers` by itself; a Ray client actor is a host that others call.

    Args:
        blueprint: The experiment.
        weights: Frozen weights, shared and not copied.
        device: Where to compute.
    """

    def __init__(self, blueprint: Blueprint, weights: FrozenWeights, device: str = "cpu") -> None:
        torch.set_num_threads(1)  # the number of threads changes the order of sums, and so the bits
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False  # the fastest algorithm may differ from process to process
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
        self.blueprint = blueprint
        self._config = blueprint.config
        self._device = torch.device(device)
        self._trained = self._evaluated = adapted_model(blueprint, weights.evaluation).to(self._device)
        if weights.training is not weights.evaluation:
            self._trained = adapted_model(blueprint, weights.training).to(self._device)
        self._method = blueprint.method()
        self._examples = examples_of(self._config, blueprint.dataset, blueprint.input_size, self._device)
        self._division = Division(self._config, blueprint.dataset)

    def train_one(self, task: ClientTask, sent: ServerState, kept: Arrays | None = None) -> ClientUpdate:
        """One client's local training, from the global adapter and what the client kept from its last round."""
        examples = self.examples("train", self._division.share(task.client))
        config = self._config
        return train_client(self._trained, self._method, examples, sent, kept or {}, task, config.training, config.seed)

    def compute_one(self, task: ServerTask, sent: ServerState) -> Arrays:
        """The result of a server task, on the images that the server has."""
        examples = self.examples("train", self._division.proxy(task.domain, task.share))
        config = self._config
        return compute(self._trained, self._method, examples, task, sent, config.training.batch_size, config.seed)

    def reduce(self, answers: Iterable[ClientUpdate | ClientFailure], values: Vector) -> PartialRound:
        """The part of a round that clients' answers make up, if it began with these values of the global adapter."""
        layout = self.blueprint.layout
        return reduce(answers, self._method.reduction(layout), layout, self._config.aggregation, values)

    def evaluate_one(self, shard: Shard, values: Vector) -> Score:
        """Score of the global adapter on a shard of a domain."""
        examples = self.examples(self._config.evaluation.split, [(shard.domain, np.arange(shard.start, shard.stop))])
        batch_size = self._config.evaluation.batch_size
        return evaluate(self._evaluated, self._method, examples, values, shard.domain, batch_size)

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        """Train every task, in the given order."""
        for task in tasks:
            yield self.reduce([self.train_one(task, sent, kept.get(task.client))], sent.values)

    def compute(self, tasks: list[ServerTask], sent: ServerState) -> list[Arrays]:
        """The results of server tasks, in their order."""
        return [self.compute_one(task, sent) for task in tasks]

    def evaluate(self, values: Vector) -> Callable[[], list[Score]]:
        """Scores of the global adapter, one per domain, computed when the result is called."""
        shards = self.blueprint.shards()
        return lambda: total_scores([self.evaluate_one(shard, values) for shard in shards])

    def examples(self, split: str, share: Share) -> AnyExamples:
        """The examples of a split at these domains and indices, as the backbone takes them."""
        return self._examples(split, share)
