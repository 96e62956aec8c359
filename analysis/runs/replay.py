"""A finished run, resumed at one of its restart points to see what its clients do there.

Clients are trained in this process as the run trained them, bit for bit; nothing is written to the run directory.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from analysis.runs.reading import Run
from fedra_ray.client.host import ClientHost
from fedra_ray.experiment import client_tasks
from fedra_ray.federation.messages import ClientTask, ClientUpdate
from fedra_ray.federation.state import ServerState, Vector
from fedra_ray.methods.draw import draw_round
from fedra_ray.model.submodel import SubModel
from fedra_ray.preflight import adapted_model, check_experiment
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.client_states import ClientStates


class Replay:
    """A finished run with its data, its backbone and its method.

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
        self.blueprint, self.weights = check_experiment(run.config)
        self.layout = self.blueprint.layout
        self.method = self.blueprint.method()

    @cached_property
    def host(self) -> ClientHost:
        """Trains and evaluates like a client actor of the run."""
        return ClientHost(self.blueprint, self.weights)

    @cached_property
    def model(self) -> SubModel:
        """The adapted model, in evaluation mode, without values of its own: `load` them."""
        return adapted_model(self.blueprint, self.weights.evaluation).eval()

    def state(self, number: int) -> ServerState:
        """What the server carried after a round; round 0 is what the run began with."""
        if number == 0:
            return self.method.init_state(self.layout, self.run.config.seed)
        return checkpoint.of_round(self.run.folder, number).state

    def values(self, number: int) -> Vector:
        """The global adapter after a round."""
        return self.state(number).values

    def tasks(self, number: int) -> list[ClientTask]:
        """What the clients of a round are asked to do, drawn as the run draws it."""
        drawn = draw_round(self.method, self.blueprint.fleet(), self.run.config.seed, number, self.state(number - 1))
        held = checkpoint.of_round(self.run.folder, number - 1).held if number > 1 else None
        storage = self.blueprint.storage(held)
        return client_tasks(self.blueprint, self.method, drawn, self.blueprint.division().sizes(), storage)

    def train(self, tasks: Iterable[ClientTask], number: int) -> list[ClientUpdate]:
        """The updates of these tasks, in order, from what the server and the clients had after a round."""
        chosen = list(tasks)
        state = self.state(number)
        sent = ServerState(state.values, self.method.broadcast(state))
        kept = ClientStates(self.run.folder).read([task.client for task in chosen], number)
        return [self.host.train_one(task, sent, kept.get(task.client)) for task in chosen]


def with_layers(task: ClientTask, layers: Iterable[int]) -> ClientTask:
    """The same task with other layers."""
    return replace(task, layers=tuple(sorted(layers)))
