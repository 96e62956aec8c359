"""Workers without a model, actors or Ray: a client's training is a function of the values that it holds."""

import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fedra_ray.blueprint import Blueprint
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.data.dataset import open_dataset
from fedra_ray.federation.layout import Entry, Layout
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound, reduce
from fedra_ray.federation.state import Arrays, ServerState, Vector
from fedra_ray.federation.storage import FrozenBytes
from fedra_ray.federation.traffic import Traffic


def small_blueprint(config: ExperimentConfig, num_layers: int, values_per_segment: int = 2) -> Blueprint:
    """The experiment of a configuration, with an adapter of a few values in place of a model's.

    Args:
        config: The experiment; its data set is opened and its backbone is not.
        num_layers: Layers of the model that is not there.
        values_per_segment: Number of float32 values in each layer and each head.

    Raises:
        SettingError: if the data set or the method of the configuration cannot work.
    """
    dataset = open_dataset(config.dataset, image_size=16)
    layers = tuple((Entry(f"layer{index}", (values_per_segment,)),) for index in range(num_layers))
    frozen = FrozenBytes(0, (0,) * num_layers)
    draft = Blueprint(config, Layout(layers, (), ()), (), 16, dataset.domains, dataset.classes, frozen)
    names = draft.method().head_names
    heads = tuple((Entry(f"heads.{name}", (values_per_segment,)),) for name in names)
    return Blueprint(config, Layout(layers, heads, names), (), 16, dataset.domains, dataset.classes, frozen)


class FakeWorkers:
    """Implements `experiment.Workers` in this process, without any training, so that a method's rounds can be examined.

    Args:
        blueprint: The experiment, of `small_blueprint` or with a real layout.
        local_training: Called with a task and the float32 values of the segments that the task's client holds, one
            after another; returns what local training makes of them, in the same shape. An error that it raises is the
            client's failure.
        arrival: Seed of the order in which the clients answer; None for the order of their tasks.

    Attributes:
        tasks: Every task so far, in the order of the answers.
        evaluated: The global values of every evaluation so far.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        local_training: Callable[[ClientTask, Vector], Vector],
        arrival: int | None = None,
    ) -> None:
        self.tasks: list[ClientTask] = []
        self.evaluated: list[Vector] = []
        self._blueprint = blueprint
        self._method = blueprint.method()
        self._local_training = local_training
        self._order = None if arrival is None else np.random.default_rng(arrival)

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        """One part for every task."""
        layout, aggregation = self._blueprint.layout, self._blueprint.config.aggregation
        order = np.arange(len(tasks)) if self._order is None else self._order.permutation(len(tasks))
        for index in order:
            self.tasks.append(tasks[index])
            answer = self._answer(tasks[index], sent.values)
            yield reduce([answer], self._method.reduction(layout), layout, aggregation, sent.values)

    def compute(self, tasks: list[ServerTask], sent: ServerState) -> list[Arrays]:
        """Nothing, for every task: there is no model."""
        return [{} for _ in tasks]

    def evaluate(self, values: Vector) -> Callable[[], list[Score]]:
        """One score per domain: every image is wrong."""
        self.evaluated.append(values)
        split = self._blueprint.config.evaluation.split
        dataset = self._blueprint.dataset
        return lambda: [
            Score(domain, split, len(dataset.labels(domain, split)), top1=0, top5=0, loss=0.0)
            for domain in self._blueprint.domains
        ]

    def _answer(self, task: ClientTask, values: Vector) -> ClientUpdate | ClientFailure:
        layout = self._blueprint.layout
        start = time.perf_counter()
        try:
            trained = self._local_training(task, layout.pack(values, layout.held(task.layers, task.sent)))
        except Exception as error:  # as on an actor, whatever a client raises is its own failure
            return ClientFailure(task, repr(error))
        seconds = time.perf_counter() - start
        return ClientUpdate(
            task, Traffic(trained.nbytes, trained.nbytes), task.images, 1, loss=0.0, seconds=seconds, values=trained
        )
