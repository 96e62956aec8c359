"""What clients download of the frozen model, counted by hand and against the records of a run."""

from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess, finish, named, restarted, table

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.storage import FrozenBytes, Storage, frozen_bytes
from fedra_ray.preflight import check_experiment

SIZES = FrozenBytes(stem=1000, blocks=(1, 10, 100))


def test_the_sizes_are_those_of_stem_and_blocks() -> None:
    weights = {
        "patch_embed.weight": np.zeros(5, np.float32),
        "blocks.0.fc.weight": np.zeros(3, np.int16),
        "blocks.1.fc.weight": np.zeros(2, np.float32),
        "blocks.1.fc.bias": np.zeros(1, np.float32),
        "norm.weight": np.zeros(1, np.float32),
    }
    assert frozen_bytes(weights, 2) == FrozenBytes(24, (6, 12))
    assert frozen_bytes(weights, 2).whole == 42


def test_a_client_that_fetches_downloads_the_blocks_that_it_did_not_hold_the_last_time() -> None:
    storage = Storage.empty(SIZES, "fetched", num_clients=2)
    assert storage.missing(0, (0, 2)) == 1101
    later = storage.after({0: (0, 2)})
    assert later.missing(0, (0, 2)) == 0
    assert later.missing(0, (1, 2)) == 10
    assert later.missing(1, (1,)) == 1010  # another client
    again = later.after({0: (1,)})
    assert again.missing(0, (0, 1, 2)) == 101  # what it held before is gone, but for the stem
    assert storage.missing(0, (0, 2)) == 1101  # the value before is left as it was


def test_a_resident_client_downloads_everything_once() -> None:
    storage = Storage.empty(SIZES, "resident", num_clients=2)
    assert storage.missing(1, (0,)) == SIZES.whole == 1111
    later = storage.after({1: (0,)})
    assert (later.missing(1, (2,)), later.missing(0, (2,))) == (0, 1111)


@pytest.mark.parametrize("num_layers", [1, 7, 8, 12, 40])
def test_a_client_takes_a_few_bytes_however_many_layers_there_are(num_layers: int) -> None:
    sizes = FrozenBytes(1, (2,) * num_layers)
    storage = Storage.empty(sizes, "fetched", num_clients=1000)
    assert storage.held.nbytes == 1000 * -(-(1 + num_layers) // 8)
    last = storage.after({999: (num_layers - 1,)})
    assert last.missing(999, range(num_layers)) == 2 * (num_layers - 1)


def counted(rows: list[dict[str, object]], sizes: FrozenBytes) -> list[int]:
    """What clients fetch, from their layers in the records alone."""
    held: dict[object, set[int]] = {}
    found = []
    for row in rows:
        layers = set(row["layers"])  # type: ignore[call-overload]
        fresh = layers - held.get(row["client"], set())
        found.append(sum(sizes.blocks[layer] for layer in fresh) + sizes.stem * (row["client"] not in held))
        held[row["client"]] = layers
    return found


def test_a_run_records_what_its_clients_fetch(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.fleet.storage = 6, "fetched"
    config.fleet.num_clients, config.fleet.clients_per_round, config.fleet.dropout = 6, 4, 0.3
    workers = InProcess(config)
    finish(workers, tmp_path / "run")
    rows = table(tmp_path / "run", "clients")
    assert [row["bytes_fetched"] for row in rows] == counted(rows, workers.blueprint.frozen)
    for row in table(tmp_path / "run", "rounds"):
        assert row["bytes_fetched"] == sum(r["bytes_fetched"] for r in rows if r["round"] == row["round"])  # type: ignore[misc]
    assert any(row["bytes_fetched"] == 0 for row in rows)


@pytest.mark.parametrize("storage", ["resident", "fetched"])
def test_a_run_taken_up_again_counts_as_one_that_was_not_interrupted(
    storage: str, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.rounds, config.fleet.storage, config.checkpoint.every = 5, storage, 2
    finish(InProcess(config), tmp_path / "whole")
    restarted(config, tmp_path / "parts", failing=11)
    for name in ("clients", "rounds"):
        assert [row["bytes_fetched"] for row in table(tmp_path / "parts", name)] == [
            row["bytes_fetched"] for row in table(tmp_path / "whole", name)
        ]


def test_blocks_that_are_run_and_not_trained_are_fetched_too(config: ExperimentConfig, tmp_path: Path) -> None:
    config.method, config.fleet.storage = named("headonly"), "fetched"
    workers = InProcess(config)
    finish(workers, tmp_path / "run")
    fetched = [row["bytes_fetched"] for row in table(tmp_path / "run", "clients")]
    assert fetched == [workers.blueprint.frozen.whole] * 3 + [0] * 3


def test_bf16_halves_what_is_fetched(config: ExperimentConfig) -> None:
    full = check_experiment(config)[0].frozen
    config.training.precision = "bf16"
    assert check_experiment(config)[0].frozen.whole == full.whole / 2


def test_only_fetching_takes_simulated_time(config: ExperimentConfig, tmp_path: Path) -> None:
    config.fleet.devices = ["phone"]
    seconds = {}
    for storage in ("resident", "fetched"):
        config.fleet.storage = storage
        workers = InProcess(config)
        finish(workers, tmp_path / storage)
        rows = table(tmp_path / storage, "clients")
        seconds[storage] = [row["simulated_s"] for row in rows]
        speed = workers.blueprint.config.fleet.profiles["phone"].download_mbps * 1e6
    more = [8 * row["bytes_fetched"] / speed for row in rows]  # type: ignore[operator]
    assert np.subtract(seconds["fetched"], seconds["resident"]) == pytest.approx(more, rel=1e-9, abs=1e-12)
