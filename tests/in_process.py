"""Runs whose clients are trained in this process, one after another, and arrive in any order."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fedra_ray.client.host import ClientHost
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.experiment import run
from fedra_ray.federation.messages import ClientFailure, ClientTask, ClientUpdate, Score, ServerTask
from fedra_ray.federation.partial_round import PartialRound
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.federation.state import Arrays, ServerState
from fedra_ray.preflight import check_experiment
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal

METHODS = {
    "fedra": "FedRA",
    "alllarge": "AllLarge",
    "allsmall": "AllSmall",
    "exclusive": "Exclusive",
    "headonly": "HeadOnly",
    "inclusivefl": "InclusiveFL",
    "depthfl": "DepthFL",
}


class InProcess:
    """Workers without Ray.

    Args:
        config: The experiment.
        arrival: Seed of the order in which clients are trained and arrive; None for the order of tasks.
        failing: Fail on the training of this number, counted from 1 over all rounds.
    """

    def __init__(self, config: ExperimentConfig, arrival: int | None = None, failing: int = 0) -> None:
        self.blueprint, weights = check_experiment(config)
        self.host = ClientHost(self.blueprint, weights)
        self.arrival = None if arrival is None else np.random.default_rng(arrival)
        self.failing = failing
        self.updates: list[ClientUpdate] = []

    def train(self, tasks: list[ClientTask], sent: ServerState, kept: Mapping[int, Arrays]) -> Iterator[PartialRound]:
        order = range(len(tasks)) if self.arrival is None else self.arrival.permutation(len(tasks))
        for index in order:
            if len(self.updates) + 1 == self.failing:
                raise KeyboardInterrupt
            update = self.host.train_one(tasks[index], sent, kept.get(tasks[index].client))
            self.updates.append(update)
            yield self.host.reduce([self.answer(update)], sent.values)

    def compute(self, tasks: list[ServerTask], sent: ServerState) -> list[Arrays]:
        return self.host.compute(tasks, sent)

    def answer(self, update: ClientUpdate) -> ClientUpdate | ClientFailure:
        return update

    def evaluate(self, values: np.ndarray) -> Callable[[], list[Score]]:
        return self.host.evaluate(values)


def finish(workers: InProcess, folder: Path) -> Outcome:
    folder.mkdir(exist_ok=True)
    *reports, outcome = run(workers.blueprint, workers, Journal(Folder(folder), workers.blueprint.config))
    assert isinstance(outcome, Outcome)
    assert all(isinstance(report, RoundReport) for report in reports)
    return outcome


def table(folder: Path, name: str) -> list[dict[str, object]]:
    rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def named(name: str) -> MethodConfig:
    return MethodConfig(name, target=f"fedra_ray.methods.{name}.{METHODS[name]}")


def restarted(config: ExperimentConfig, folder: Path, failing: int) -> Outcome:
    """An experiment that is interrupted on a training, and then taken up again."""
    folder.mkdir()
    workers = InProcess(config, failing=failing)
    with pytest.raises(KeyboardInterrupt):
        list(run(workers.blueprint, workers, Journal(Folder(folder), workers.blueprint.config)))
    return finish(InProcess(config, arrival=2), folder)
