"""One experiment, from a blueprint to the final adapter: the round of federated tuning, top to bottom.

`Workers` do the computing: Ray actors (`fedra_ray.runtime`), this process (`fedra_ray.client.host`), or a fake.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedra_ray.blueprint import Blueprint
from fedra_ray.cost.workload import simulated_seconds
from fedra_ray.federation.allocation import DrawnRound
from fedra_ray.federation.dropouts import respond
from fedra_ray.federation.messages import ClientTask, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound, gather
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.federation.steps import images_seen, local_steps, step_bound
from fedra_ray.federation.storage import Storage
from fedra_ray.methods.draw import draw_round
from fedra_ray.methods.method import Method
from fedra_ray.run_dir.checkpoint import Checkpoint
from fedra_ray.run_dir.journal import ClosedRound, Journal
from fedra_ray.run_dir.stopwatch import Stopwatch


class Workers(Protocol):
    """Whoever trains clients and evaluates models."""

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        """Begin to train every task; the parts of the round arrive in any order.

        A failure in a part is final: further attempts have failed too.

        Args:
            tasks: One for every client.
            sent: The global adapter, and the arrays that the method sends to every client.
            kept: Arrays that clients kept from earlier rounds, by client and name.
        """

    def compute(self, tasks: list[ServerTask], sent: ServerState) -> list[Arrays]:
        """Carry out server tasks; returns their results, in their order.

        Args:
            tasks: What the method's server has computed before a round; never empty.
            sent: The global adapter, and the arrays that the method sends to every client.
        """

    def evaluate(self, values: NDArray[np.float32]) -> Callable[[], list[Score]]:
        """Begin to evaluate the global adapter; calling the result waits for the scores, one per domain, in order."""


def run(blueprint: Blueprint, workers: Workers, journal: Journal) -> Iterator[RoundReport | Outcome]:
    """Run or resume an experiment; yields a report of every round, then the outcome.

    Raises:
        ClientLostError: if a client fails on every attempt and the configuration does not say to drop it.
        RunFailedError: if a result cannot be computed or written.
    """
    config, layout = blueprint.config, blueprint.layout
    fleet, division = blueprint.fleet(), blueprint.division()
    method = blueprint.method()
    sizes = division.sizes()
    journal.begin(division.table())
    done = journal.restore() or Checkpoint(0, method.init_state(layout, config.seed))
    storage = blueprint.storage(done.held)
    scores = workers.evaluate(done.state.values) if done.round == config.rounds else None

    for number in range(done.round + 1, config.rounds + 1):
        watch = Stopwatch()
        with watch("training"):
            state = prepared(method, workers, done.state, number)

        with watch("allocation"):
            drawn = draw_round(method, fleet, config.seed, number, state)
            tasks = client_tasks(blueprint, method, drawn, sizes, storage)
            seconds = simulated_seconds(config, method, layout, blueprint.cost, fleet, tasks, sizes)
            responses = respond(config.fleet, drawn.cohort, config.seed, number, seconds)
            tasks = [task for task in tasks if responses.in_time(task.client)]

        with watch("training"):
            kept = journal.kept([task.client for task in tasks]) if method.keeps_client_state else {}
            parts = workers.train(tasks, ServerState(state.values, method.broadcast(state)), kept)
            yield from journal.settled()  # the round before, while these clients train
            empty = method.reduction(layout)
            whole = gather(parts, empty, config.on_client_failure, config.runtime.max_attempts)

        with watch("aggregation"):
            storage = storage.after({report.task.client: report.task.blocks for report in whole.reports})
            done = Checkpoint(number, method.merge(state, whole.total) if whole.reports else state, storage.held)
            due = number == config.rounds or number % config.evaluation.every == 0
            scores = workers.evaluate(done.state.values) if due else None
        journal.close(ClosedRound(drawn, fleet, responses, whole, done, scores, watch))

    yield from journal.settled()
    journal.end()
    yield Outcome(done.state.values, scores() if scores else [])


def prepared(method: Method, workers: Workers, state: ServerState, number: int) -> ServerState:
    """The state with which a round begins: after what the method's server has workers compute first."""
    tasks = method.server_tasks(state, number)
    if not tasks:
        return state
    return method.take_in(state, workers.compute(tasks, ServerState(state.values, method.broadcast(state))))


def client_tasks(
    blueprint: Blueprint, method: Method, drawn: DrawnRound, sizes: NDArray[np.int64], storage: Storage
) -> list[ClientTask]:
    """One task for every client of a drawn round: its row of the allocation matrix as layer indices, and its share.

    Args:
        blueprint: What defines the experiment.
        method: Says what else a client trains, and which blocks it runs.
        drawn: The cohort and its allocation matrix.
        sizes: How many images each client (clients,) of the fleet has.
        storage: Says which frozen weights a client has to download.
    """
    config = blueprint.config
    cohort = drawn.cohort
    bound = step_bound(config.training, sizes, cohort)
    weights = sizes[cohort] if config.aggregation.weighting == "examples" else np.ones(len(cohort), dtype=np.int64)
    unsent = method.unsent(cohort)
    tasks = []
    rows = zip(cohort, drawn.depths, drawn.matrix, sizes[cohort].tolist(), weights.tolist(), strict=True)
    for client, depth, row, size, weight in rows:
        layers = tuple(np.flatnonzero(row).tolist())
        named = method.named(layers)
        task = ClientTask(
            round=drawn.number,
            client=client,
            layers=layers,
            named=named,
            unsent=tuple(name for name in unsent if name in named),
            frozen=tuple(block for block in method.blocks(layers) if block not in layers),
            fetched=storage.missing(client, {*layers, *method.blocks(layers)}),
            depth=depth,
            group=method.group(layers),
            max_steps=bound,
            images=images_seen(size, local_steps(size, bound, config.training), config.training),
            weight=weight,
            total_weight=int(weights.sum()),
        )
        tasks.append(task)
    return tasks
