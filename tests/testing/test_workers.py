"""Rounds of clients whose training is arithmetic: what the server makes of them can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from fedra_ray.config.errors import ClientLostError
from fedra_ray.config.schema import ExperimentConfig, MethodConfig
from fedra_ray.experiment import run
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.reports import Outcome, RoundReport
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.testing.workers import FakeWorkers, small_blueprint


def one_up(task: ClientTask, values: np.ndarray) -> np.ndarray:
    return values + 1


def finish(workers: FakeWorkers, config: ExperimentConfig) -> tuple[list[RoundReport], Outcome]:
    *reports, outcome = run(small_blueprint(config, 4), workers, Journal(Folder(config.run_dir), config))
    assert isinstance(outcome, Outcome)
    return reports, outcome


@pytest.fixture
def config(config: ExperimentConfig) -> ExperimentConfig:
    Path(config.run_dir).mkdir()
    config.rounds = 3
    return config


def test_every_round_moves_what_somebody_holds_by_the_mean_of_the_updates(config: ExperimentConfig) -> None:
    blueprint = small_blueprint(config, 4)
    workers = FakeWorkers(blueprint, one_up)
    reports, outcome = finish(workers, config)
    before = blueprint.layout.initial(config.seed)
    np.testing.assert_allclose(outcome.values, before + 3, rtol=0, atol=1e-6)  # the client of depth 4 holds every layer
    assert [report.round for report in reports] == [1, 2, 3]
    assert [len(task.layers) for task in workers.tasks] == [4, 2, 1] * 3
    assert [(score.domain, score.top1) for score in outcome.scores] == [("dark", 0), ("light", 0), ("noisy", 0)]
    assert workers.evaluated[-1].tobytes() == outcome.values.tobytes()


def test_a_layer_of_two_holders_moves_by_their_mean(config: ExperimentConfig) -> None:
    config.method = MethodConfig(
        "inclusivefl", target="fedra_ray.methods.inclusivefl.InclusiveFL", options={"momentum": 0}
    )
    config.rounds = 1
    blueprint = small_blueprint(config, 4)
    workers = FakeWorkers(blueprint, lambda task, values: values + 6 * task.client)
    _, outcome = finish(workers, config)
    moved = outcome.values - blueprint.layout.initial(config.seed)
    # depth 4 (client 0) holds every layer, depth 2 (client 1) the first two, depth 1 (client 2) the first
    np.testing.assert_allclose(moved, np.repeat([6, 3, 0, 0, 6], 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["inclusivefl.InclusiveFL", "depthfl.DepthFL"])
def test_order_of_arrival_changes_no_bit(name: str, config: ExperimentConfig, tmp_path: Path) -> None:
    config.method = MethodConfig(name, target=f"fedra_ray.methods.{name}")

    def shuffled(arrival: int | None) -> bytes:
        config.run_dir = str(tmp_path / f"{arrival}")
        Path(config.run_dir).mkdir()
        workers = FakeWorkers(small_blueprint(config, 4), lambda task, values: values + task.client / 3, arrival)
        return finish(workers, config)[1].values.tobytes()

    assert len({shuffled(arrival) for arrival in (None, 1, 2)}) == 1


def test_a_client_that_raises_ends_the_run_or_is_dropped(config: ExperimentConfig) -> None:
    def weak(task: ClientTask, values: np.ndarray) -> np.ndarray:
        if task.client == 1:
            raise ValueError("out of battery")
        return values + 1

    with pytest.raises(ClientLostError, match=r"client 1 .*out of battery"):
        finish(FakeWorkers(small_blueprint(config, 4), weak), config)
    config.on_client_failure = "drop"
    reports, _ = finish(FakeWorkers(small_blueprint(config, 4), weak), config)
    assert [list(report.missing.clients()) for report in reports] == [[1]] * 3
