"""A finished run, taken up again at one of its restart points, to look into what its clients do there.

Clients are trained in this process as the run trained them, bit for bit; nothing is written to the run directory.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.runs.reading import Run
from fedra_ray.client.host import Site
from fedra_ray.experiment import client_tasks
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.model.submodel import SubModel
from fedra_ray.preflight import adapted_model, draw_up
from fedra_ray.run_dir import checkpoint

Vector = NDArray[np.float32]


class Replay:
    """What a run was made of.

    Args:
        run: The run.

    Attributes:
        blueprint: Its configuration with everything that follows from it.
        weights: The frozen backbone's.
        layout: How the adapter lies in its flat vector.
        method: The federated method.

    Raises:
        SettingError: if its data or backbone are not where they were.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.blueprint, self.weights = draw_up(run.config)
        self.layout = self.blueprint.layout
        self.method = self.blueprint.method()

    @cached_property
    def site(self) -> Site:
        """Trains and evaluates like a client actor of the run."""
        return Site(self.blueprint, self.weights)

    @cached_property
    def model(self) -> SubModel:
        """The adapted model, in evaluation mode, without values of its own: `load` them."""
        return adapted_model(self.blueprint, self.weights.evaluation).eval()

    def values(self, number: int) -> Vector:
        """The global adapter after a round; round 0 is what the run began with."""
        if number == 0:
            return self.layout.initial(self.run.config.seed)
        return checkpoint.of_round(self.run.folder, number).values

    def tasks(self, number: int) -> list[ClientTask]:
        """What the clients of a round are asked to do, drawn as the run draws it."""
        fleet, config = self.blueprint.fleet(), self.run.config
        cohort, depths = fleet.cohort(number, self.method.eligible), fleet.depths(number)
        matrix = self.method.allocate(depths[cohort].tolist(), generator(config.seed, Purpose.ALLOCATION, number))
        sizes = self.blueprint.division().sizes()
        return client_tasks(self.blueprint, self.method, cohort, matrix, number, sizes)

    def train(self, tasks: Iterable[ClientTask], values: Vector) -> list[ClientUpdate]:
        """The updates of these tasks from the global adapter, in their order."""
        return [self.site.train_one(task, values) for task in tasks]


def with_layers(task: ClientTask, layers: Iterable[int]) -> ClientTask:
    """The same task with other layers."""
    return replace(task, layers=tuple(sorted(layers)))
