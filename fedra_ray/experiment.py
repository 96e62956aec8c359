"""One experiment, from a blueprint to the final adapter: the round of federated tuning, top to bottom.

Who computes is behind `Workers`; `fedra_ray.runtime` has Ray actors, a test can pass anything else.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedra_ray import checkpoint
from fedra_ray.aggregation import MaskedSum
from fedra_ray.allocation import Matrix
from fedra_ray.blueprint import Blueprint
from fedra_ray.checkpoint import Checkpoint
from fedra_ray.errors import RunFailedError
from fedra_ray.messages import ClientTask, ClientUpdate, Score
from fedra_ray.methods.method import Method
from fedra_ray.records import Records
from fedra_ray.seeding import Purpose, generator
from fedra_ray.steps import step_bound

Vector = NDArray[np.float32]


class Workers(Protocol):
    """Whoever trains clients and evaluates models."""

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[ClientUpdate]:
        """Train every task from the global adapter; updates come in any order, each exactly once."""

    def evaluate(self, values: Vector) -> list[Score]:
        """Scores of the global adapter, a domain each, in the order of domains."""


@dataclass(frozen=True)
class RoundReport:
    """What a finished round has to tell: mean training loss, and scores if it was evaluated."""

    round: int
    loss: float
    scores: list[Score]


@dataclass(frozen=True)
class Outcome:
    """The end of an experiment: the global adapter and its scores."""

    values: Vector
    scores: list[Score]


def run(blueprint: Blueprint, workers: Workers, run_dir: Path) -> Iterator[RoundReport | Outcome]:
    """Run, or take up again, an experiment; reports every round, then the outcome."""
    config, layout = blueprint.config, blueprint.layout
    method, fleet = blueprint.method(), blueprint.fleet()
    division = blueprint.division()
    division.save(run_dir)
    sizes = division.sizes()
    records = Records(run_dir)
    state = _restore(run_dir, records) or Checkpoint(0, layout.initial(config.seed))
    scores: list[Score] = []

    for number in range(state.round + 1, config.rounds + 1):
        start = time.perf_counter()

        cohort = fleet.cohort(number, method.eligible)
        depths = fleet.depths(number)
        matrix = method.allocate(depths[cohort].tolist(), generator(config.seed, Purpose.ALLOCATION, number))
        tasks = client_tasks(blueprint, method, cohort, matrix, number, step_bound(config.training, sizes, cohort))

        groups: dict[int, MaskedSum] = {}
        rows = []
        for update in workers.train(tasks, state.values):
            task = update.task
            weight = update.examples if config.aggregation.weighting == "examples" else 1
            group = groups.setdefault(method.group(task.layers), MaskedSum(layout.segments))
            try:
                group.add(layout.held(task.layers, task.heads), update.values, weight)
            except ValueError as error:
                raise RunFailedError(
                    f"round {number}: client {task.client}: {error}; try a lower training.lr"
                ) from error
            rows.append(records.add_client(update, fleet.domain(task.client), int(depths[task.client])))

        state = Checkpoint(number, method.merge(state.values, groups) if groups else state.values)
        last = number == config.rounds
        evaluated = last or number % config.evaluation.every == 0
        scores = workers.evaluate(state.values) if evaluated else []

        loss = records.add_round(number, time.perf_counter() - start, matrix.sum(axis=0).tolist(), rows)
        records.add_scores(number, scores)
        if last or number % config.checkpoint.every == 0:
            records.save()
            checkpoint.save(run_dir / "checkpoints", state, config.checkpoint.keep)
        yield RoundReport(number, loss, scores)

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


def _restore(run_dir: Path, records: Records) -> Checkpoint | None:
    found = checkpoint.newest(run_dir / "checkpoints")
    if found is not None:
        records.restore(found.round)
    return found
