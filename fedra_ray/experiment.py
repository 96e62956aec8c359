"""One experiment, from a blueprint to the final adapter: the round of federated tuning, top to bottom.

Who computes is behind `Workers`; `fedra_ray.runtime` has Ray actors, a test can pass anything else.
"""

import time
from collections.abc import Iterator
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
from fedra_ray.records import Missing, to_parquet
from fedra_ray.reliability import fault, silent
from fedra_ray.seeding import Purpose, generator
from fedra_ray.steps import step_bound

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
    """What a finished round has to tell: mean training loss, scores if it was evaluated, and who is missing."""

    round: int
    loss: float
    scores: list[Score]
    missing: Missing


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
    journal.folder.write(FILE, to_parquet(division.table()))
    state = journal.restore() or Checkpoint(0, layout.initial(config.seed))
    scores: list[Score] = []

    for number in range(state.round + 1, config.rounds + 1):
        start = time.perf_counter()

        cohort = fleet.cohort(number, method.eligible)
        depths = fleet.depths(number)
        matrix = method.allocate(depths[cohort].tolist(), generator(config.seed, Purpose.ALLOCATION, number))
        missing = Missing(*silent(config.fleet, cohort, config.seed, number))
        tasks = client_tasks(blueprint, method, cohort, matrix, number, step_bound(config.training, sizes, cohort))
        tasks = [task for task in tasks if task.client not in {*missing.dropped, *missing.late}]
        weights = sizes if config.aggregation.weighting == "examples" else np.ones_like(sizes)
        total_weight = int(weights[cohort].sum())

        groups: dict[int, MaskedSum] = {}
        rows = []
        for answer in workers.train(tasks, state.values):
            task = answer.task
            if isinstance(answer, ClientFailure):
                if config.on_client_failure == "fail":
                    raise ClientLostError(number, [task.client], config.runtime.max_attempts, answer.error.strip())
                missing.dropped.append(task.client)
                continue
            held = layout.held(task.layers, task.heads)
            problem = fault(answer.values, layout.pack(state.values, held), config.aggregation, total_weight)
            if problem is not None:
                missing.rejected[task.client] = problem
                continue
            group = groups.setdefault(method.group(task.layers), MaskedSum(layout.segments))
            group.add(held, answer.values, int(weights[task.client]))
            rows.append(records.add_client(answer, fleet.domain(task.client), int(depths[task.client])))

        state = Checkpoint(number, method.merge(state.values, groups) if groups else state.values)
        last = number == config.rounds
        evaluated = last or number % config.evaluation.every == 0
        scores = workers.evaluate(state.values) if evaluated else []

        loss = records.add_round(number, time.perf_counter() - start, blueprint.num_layers, rows, missing)
        records.add_scores(number, scores)
        journal.state = state
        if last or number % config.checkpoint.every == 0:
            journal.save()
        yield RoundReport(number, loss, scores, missing)

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
