"""Methods that hold state, in whole runs: killed and resumed, in any order of arrival, they end with the same bits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess, finish, restarted, table

from fedra_ray.config.schema import ExperimentConfig, WrapperConfig
from fedra_ray.methods.scaffold import CONTROL
from fedra_ray.run_dir import checkpoint
from fedra_ray.run_dir.client_states import ClientStates
from fedra_ray.run_dir.folder import Folder

Around = Callable[..., ExperimentConfig]

OPTIMIZERS = {
    "fedprox": "client_optimizer",
    "scaffold": "client_optimizer",
    "fedavgm": "server_optimizer",
    "fedadam": "server_optimizer",
    "fedyogi": "server_optimizer",
}
CLASSES = {
    "fedprox": "FedProx",
    "scaffold": "Scaffold",
    "fedavgm": "FedAvgM",
    "fedadam": "FedAdam",
    "fedyogi": "FedYogi",
}


@pytest.fixture
def around(config: ExperimentConfig) -> Around:
    """around(name, ...): the experiment with FedRA inside these optimisers, and cohorts of 3 of 9 clients."""

    def make(*names: str) -> ExperimentConfig:
        config.fleet.num_clients, config.fleet.clients_per_round = 9, 3
        config.rounds, config.checkpoint.every, config.evaluation.every = 6, 2, 6
        for name in names:
            wrapper = WrapperConfig(name, target=f"fedra_ray.methods.{name}.{CLASSES[name]}")
            setattr(config, OPTIMIZERS[name], wrapper)
        return config

    return make


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimiser_changes_the_result_and_no_order_of_arrival_does(
    name: str, around: Around, config: ExperimentConfig, tmp_path: Path
) -> None:
    plain = finish(InProcess(around()), tmp_path / "plain")
    first = finish(InProcess(around(name)), tmp_path / "first")
    second = finish(InProcess(around(name), arrival=5), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes() != plain.values.tobytes()
    assert first.scores == second.scores


@pytest.mark.parametrize("names", [("scaffold",), ("fedadam",), ("scaffold", "fedadam")], ids=" ".join)
@pytest.mark.parametrize("failing", [2, 8, 11, 17], ids="training {}".format)
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    names: tuple[str, ...], failing: int, around: Around, tmp_path: Path
) -> None:
    whole = finish(InProcess(around(*names)), tmp_path / "whole")
    parts = restarted(around(*names), tmp_path / "parts", failing)
    assert parts.values.tobytes() == whole.values.tobytes()
    assert parts.scores == whole.scores
    ends = [checkpoint.newest(Folder(tmp_path / name)).state.arrays for name in ("whole", "parts")]
    assert {name: array.tobytes() for name, array in ends[0].items()} == {
        name: array.tobytes() for name, array in ends[1].items()
    }
    assert ends[0]
    assert states(tmp_path / "whole") == states(tmp_path / "parts")


def states(folder: Path) -> dict[int, bytes]:
    """The control variate of every client that has one."""
    read = ClientStates(Folder(folder)).read(range(9))
    return {client: arrays[CONTROL].tobytes() for client, arrays in read.items()}


def test_clients_keep_state_only_if_they_were_ever_averaged(around: Around, tmp_path: Path) -> None:
    config = around("scaffold")
    config.rounds = 2
    finish(InProcess(config), tmp_path)
    sampled = {row["client"] for row in table(tmp_path, "clients")}
    assert 3 <= len(sampled) <= 6
    assert set(states(tmp_path)) == sampled


def test_the_server_s_variate_is_the_mean_over_all_clients(around: Around, tmp_path: Path) -> None:
    outcome = finish(InProcess(around("scaffold")), tmp_path)
    assert np.isfinite(outcome.values).all()
    server = checkpoint.newest(Folder(tmp_path)).state.arrays[CONTROL]
    clients = [np.frombuffer(state, np.float32) for state in states(tmp_path).values()]
    np.testing.assert_allclose(server, np.sum(clients, axis=0) / 9, atol=1e-6)


def test_a_client_that_is_rejected_keeps_what_it_had(around: Around, tmp_path: Path) -> None:
    config = around("scaffold")
    config.aggregation.max_norm = 1e-9  # nobody passes
    finish(InProcess(config), tmp_path)
    assert states(tmp_path) == {}
