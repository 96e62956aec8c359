"""One experiment, from a blueprint to the final adapter: the round of federated tuning, top to bottom.

Who computes is behind `Workers`; `fedra_ray.runtime` has Ray actors, a test can pass anything else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedra_ray.aggregation import MaskedSum
from fedra_ray.allocation import Matrix
from fedra_ray.blueprint import Blueprint
from fedra_ray.checkpoint import Checkpoint
from fedra_ray.data.division import FILE
from fedra_ray.errors import ClientLostError
from fedra_ray.journal import Journal
from fedra_ray.messages import ClientFailure, ClientTask, ClientUpdate, Score
from fedra_ray.methods.method import Method
from fedra_ray.records import Missing, Row, to_parquet
from fedra_ray.reliability import fault, respond
from fedra_ray.seeding import Purpose, generator
from fedra_ray.steps import step_bound
from fedra_ray.stopwatch import Stopwatch
from fedra_ray.workload import simulated_seconds

Vector = NDArray[np.float32]


class Workers(Protocol):
    """Whoever trains clients and evaluates models."""

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[ClientUpdate | ClientFailure]:
        """Train every task from the global adapter; answers come in any order, one each.

        A failure is one that further attempts did not mend.
        """

    def evaluate(self, values: Vector) -> list[Score]:
        """Scores of the global adapter, a domain each, in the order of domains."""


@dataclass(frozen=True)
class RoundReport:
    """What a finished round has to tell.

    Attributes:
        round: Its number, from 1.
        loss: Mean training loss of the averaged clients; not a number if there is none.
        scores: A score a domain if the round was evaluated, else none.
        missing: The clients of the cohort whose updates are not in the average.
        row: The round's row of rounds.parquet.
        retries: Further attempts that its averaged clients took.
        busy: Seconds that its averaged clients trained, all together.
        phases: Seconds of wall time by phase: allocation, training, aggregation, evaluation, checkpoint.
    """

    round: int
    loss: float
    scores: list[Score]
    missing: Missing
    row: Row
    retries: int
    busy: float
    phases: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """The end of an experiment: the global adapter and its scores."""

    values: Vector
    scores: list[Score]


def run(blueprint: Blueprint, workers: Workers, journal: Journal) -> Iterator[RoundReport | Outcome]:
    """Run, or take up again, an experiment; reports every round, then the outcome.

    Raises:
        ClientLostError: if a client fails on every attempt and the configuration does not say to drop it.
        RunFailedError: if nothing can be computed or written.
    """
    config, layout, records = blueprint.config, blueprint.layout, journal.records
    method, fleet, division = blueprint.method(), blueprint.fleet(), blueprint.division()
    sizes = division.sizes()
    weights = sizes if config.aggregation.weighting == "examples" else np.ones_like(sizes)
    journal.folder.write(FILE, to_parquet(division.table()))
    state = journal.restore() or Checkpoint(0, layout.initial(config.seed))
    scores: list[Score] = []

    for number in range(state.round + 1, config.rounds + 1):
        watch = Stopwatch()
        with watch("allocation"):
            cohort, depths = fleet.cohort(number, method.eligible), fleet.depths(number)
            matrix = method.allocate(depths[cohort].tolist(), generator(config.seed, Purpose.ALLOCATION, number))
            tasks = client_tasks(blueprint, method, cohort, matrix, number, step_bound(config.training, sizes, cohort))
            seconds = simulated_seconds(blueprint, method, fleet, tasks, sizes)
            responses = respond(config.fleet, cohort, config.seed, number, seconds)
            missing = Missing([*responses.dropped], [*responses.late])
            asked = [task for task in tasks if task.client not in missing.clients()]

        with watch("training"):
            total_weight = int(weights[cohort].sum())
            groups: dict[int, MaskedSum] = {}
            clients: list[Row] = []
            for update in valid(workers.train(asked, state.values), blueprint, state.values, total_weight, missing):
                task = update.task
                group = groups.setdefault(method.group(task.layers), MaskedSum(layout.segments))
                group.add(layout.held(task.layers, task.heads), update.values, int(weights[task.client]))
                domain, depth = fleet.domain(task.client), int(depths[task.client])
                clients.append(records.add_client(update, domain, depth, responses.seconds.get(task.client)))

        with watch("aggregation"):
            state = Checkpoint(number, method.merge(state.values, groups) if groups else state.values)

        last = number == config.rounds
        with watch("evaluation"):
            scores = workers.evaluate(state.values) if last or number % config.evaluation.every == 0 else []

        with watch("checkpoint"):
            duration = responses.duration(missing.clients())
            row = records.add_round(number, watch.total, blueprint.num_layers, clients, missing, duration)
            records.add_scores(number, scores)
            journal.state = state
            if last or number % config.checkpoint.every == 0:
                journal.save()

        retries = sum(client["attempt"] - 1 for client in clients)
        busy = sum(client["seconds"] for client in clients)
        yield RoundReport(number, row["train_loss"], scores, missing, row, retries, busy, watch.seconds)

    yield Outcome(state.values, scores or workers.evaluate(state.values))


def client_tasks(
    blueprint: Blueprint, method: Method, cohort: list[int], matrix: Matrix, number: int, max_steps: int | None
) -> list[ClientTask]:
    """A task for every client of the cohort: its row of the allocation matrix, as layer indices."""
    progress = number / blueprint.config.rounds
    stem = blueprint.layout.stem_names if 0 in cohort else ()  # the patch embedding's LoRA: an oddity, as documented
    tasks = []
    for client, row in zip(cohort, matrix, strict=True):
        layers = tuple(np.flatnonzero(row).tolist())
        tasks.append(ClientTask(number, client, layers, method.held_heads(layers) + stem, progress, max_steps))
    return tasks


def valid(
    answers: Iterable[ClientUpdate | ClientFailure],
    blueprint: Blueprint,
    values: Vector,
    total_weight: int,
    missing: Missing,
) -> Iterator[ClientUpdate]:
    """The updates that may be averaged; the clients of the others are noted as missing.

    Raises:
        ClientLostError: for a failure, unless the configuration says to drop the client.
    """
    config, layout = blueprint.config, blueprint.layout
    for answer in answers:
        task = answer.task
        if isinstance(answer, ClientFailure):
            if config.on_client_failure == "fail":
                raise ClientLostError(task.round, [task.client], config.runtime.max_attempts, answer.error.strip())
            missing.dropped.append(task.client)
            continue
        previous = layout.pack(values, layout.held(task.layers, task.heads))
        problem = fault(answer.values, previous, config.aggregation, total_weight)
        if problem is not None:
            missing.rejected[task.client] = problem
            continue
        yield answer
