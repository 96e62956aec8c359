"""One experiment, from a blueprint to the final adapter: the round of federated tuning, top to bottom.

Who computes is behind `Workers`; `fedra_ray.runtime` has Ray actors, a test can pass anything else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedra_ray.blueprint import Blueprint
from fedra_ray.cost.workload import simulated_seconds
from fedra_ray.data.division import FILE
from fedra_ray.federation.allocation import Matrix
from fedra_ray.federation.dropouts import respond
from fedra_ray.federation.messages import ClientTask, Score
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.federation.steps import images_seen, local_steps, step_bound
from fedra_ray.methods.method import Method
from fedra_ray.run_dir.checkpoint import Checkpoint
from fedra_ray.run_dir.journal import Journal
from fedra_ray.run_dir.records import Missing, Row, to_parquet
from fedra_ray.stopwatch import Stopwatch

Vector = NDArray[np.float32]


class Workers(Protocol):
    """Whoever trains clients and evaluates models."""

    def train(self, tasks: list[ClientTask], values: Vector) -> Iterator[PartialRound]:
        """Begin to train every task from the global adapter; what they add to the round comes in parts, in any order.

        A failure is one that further attempts did not mend.
        """

    def evaluate(self, values: Vector) -> Callable[[], list[Score]]:
        """Begin to evaluate the global adapter; the result waits for the scores, a domain each, in their order."""


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
        phases: Seconds of wall time by phase: allocation, training, aggregation, and, while the next round's clients
            train, the wait for evaluation and the checkpoint.
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
    journal.folder.write(FILE, to_parquet(division.table()))
    state = journal.restore() or Checkpoint(0, layout.initial(config.seed))
    evaluation = workers.evaluate(state.values) if state.round == config.rounds else None
    before: _Round | None = None

    for number in range(state.round + 1, config.rounds + 1):
        watch = Stopwatch()
        with watch("allocation"):
            cohort, depths = fleet.cohort(number, method.eligible), fleet.depths(number)
            matrix = method.allocate(depths[cohort].tolist(), generator(config.seed, Purpose.ALLOCATION, number))
            tasks = client_tasks(blueprint, method, cohort, matrix, number, sizes)
            seconds = simulated_seconds(blueprint, method, fleet, tasks, sizes)
            responses = respond(config.fleet, cohort, config.seed, number, seconds)
            missing = Missing([*responses.dropped], [*responses.late])
            absent = set(missing.clients())

        with watch("training"):
            parts = workers.train([task for task in tasks if task.client not in absent], state.values)
            if before is not None:  # while the clients train: nothing in here changes their task
                yield before.settle(journal, blueprint)
            total = PartialRound()
            for part in parts:
                total.merge(part)
                missing.note(part, config)

        with watch("aggregation"):
            state = Checkpoint(number, method.merge(state.values, total.sums) if total.sums else state.values)
            due = number == config.rounds or number % config.evaluation.every == 0
            evaluation = workers.evaluate(state.values) if due else None
            rows = []
            for report in total.reports:
                client = report.task.client
                domain, simulated = fleet.domain(client), responses.seconds.get(client)
                rows.append(records.add_client(report, domain, int(depths[client]), simulated))
        before = _Round(state, watch, rows, missing, responses.duration(missing.clients()), evaluation)

    if before is not None:
        yield before.settle(journal, blueprint)
    yield Outcome(state.values, evaluation() if evaluation else [])


@dataclass
class _Round:
    """A round whose average is taken, and of which scores, records and checkpoint are still to come."""

    state: Checkpoint
    watch: Stopwatch
    clients: list[Row]
    missing: Missing
    simulated_s: float | None
    evaluation: Callable[[], list[Score]] | None

    def settle(self, journal: Journal, blueprint: Blueprint) -> RoundReport:
        """Wait for the scores, write everything down, and say what there is to tell."""
        config, records = blueprint.config, journal.records
        number, seconds = self.state.round, self.watch.total
        with self.watch("evaluation"):
            scores = self.evaluation() if self.evaluation else []
        with self.watch("checkpoint"):
            row = records.add_round(number, seconds, blueprint.num_layers, self.clients, self.missing, self.simulated_s)
            records.add_scores(number, scores)
            journal.state = self.state
            if number == config.rounds or number % config.checkpoint.every == 0:
                journal.save()
        retries = sum(client["attempt"] - 1 for client in self.clients)
        busy = sum(client["seconds"] for client in self.clients)
        return RoundReport(number, row["train_loss"], scores, self.missing, row, retries, busy, self.watch.seconds)


def client_tasks(
    blueprint: Blueprint, method: Method, cohort: list[int], matrix: Matrix, number: int, sizes: NDArray[np.int64]
) -> list[ClientTask]:
    """A task for every client of the cohort: its row of the allocation matrix, as layer indices."""
    config = blueprint.config
    bound = step_bound(config.training, sizes, cohort)
    weights = sizes[cohort] if config.aggregation.weighting == "examples" else np.ones(len(cohort), dtype=np.int64)
    stem = blueprint.layout.stem_names if 0 in cohort else ()  # the patch embedding's LoRA: an oddity, as documented
    tasks = []
    for client, row, size, weight in zip(cohort, matrix, sizes[cohort].tolist(), weights.tolist(), strict=True):
        layers = tuple(np.flatnonzero(row).tolist())
        task = ClientTask(
            round=number,
            client=client,
            layers=layers,
            heads=method.held_heads(layers) + stem,
            progress=number / config.rounds,
            max_steps=bound,
            images=images_seen(size, local_steps(size, bound, config.training), config.training),
            weight=weight,
            total_weight=int(weights.sum()),
        )
        tasks.append(task)
    return tasks
