"""Rounds with bad updates, failing clients, interruptions and unreadable images."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from in_process import InProcess, finish, restarted, table

from fedra_ray.config.errors import ClientLostError, ImageError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.experiment import run
from fedra_ray.federation.aggregation import MaskedSum
from fedra_ray.federation.messages import ClientFailure, ClientUpdate
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal


@pytest.mark.parametrize("failing", [1, 5, 7, 12], ids="training {}".format)
def test_an_interrupted_run_ends_as_an_undisturbed_one(failing: int, config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.checkpoint.every, config.evaluation.every = 4, 2, 2
    whole = finish(InProcess(config), tmp_path / "whole")
    parts = restarted(config, tmp_path / "parts", failing)
    assert parts.values.tobytes() == whole.values.tobytes()
    assert parts.scores == whole.scores
    for records in ("rounds", "clients", "evaluations"):
        assert table(tmp_path / "parts", records) == table(tmp_path / "whole", records)


def test_a_restart_begins_after_the_last_checkpoint(config: ExperimentConfig, tmp_path: Path) -> None:
    config.rounds, config.checkpoint.every = 4, 2
    workers = InProcess(config)
    for report in itertools.islice(run(workers.blueprint, workers, Journal(Folder(tmp_path), config)), 3):
        assert report.round <= 3
    again = InProcess(config)
    finish(again, tmp_path)
    assert [update.task.round for update in again.updates] == [3] * 3 + [4] * 3


def test_a_run_whose_rounds_are_done_only_evaluates(config: ExperimentConfig, tmp_path: Path) -> None:
    first = finish(InProcess(config), tmp_path)
    again = InProcess(config)
    outcome = finish(again, tmp_path)
    assert again.updates == []
    assert outcome.values.tobytes() == first.values.tobytes()
    assert outcome.scores == first.scores


class Spoiling(InProcess):
    """Changes the values of some clients' updates."""

    def __init__(self, config: ExperimentConfig, spoil: dict[int, Callable[[np.ndarray], np.ndarray]]) -> None:
        super().__init__(config, arrival=2)
        self.spoil = spoil

    def answer(self, update: ClientUpdate) -> ClientUpdate:
        change = self.spoil.get(update.task.client)
        return update if change is None else replace(update, values=change(update.values.copy()))


def poisoned(values: np.ndarray, value: float) -> np.ndarray:
    values[7] = value
    return values


BAD = {
    "nan": (lambda values: poisoned(values, np.nan), "not finite"),
    "inf": (lambda values: poisoned(values, -np.inf), "not finite"),
    "huge": (lambda values: poisoned(values, 1e30), r"a value of 1e\+30, beyond"),
    "norm": (lambda values: values + 10, "norm .* beyond aggregation.max_norm=5"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_update_is_rejected_and_named_and_the_others_are_averaged(
    kind: str, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.aggregation.max_norm, config.rounds = 5.0, 1
    spoil, message = BAD[kind]
    workers = Spoiling(config, {1: spoil})
    report, outcome = run(workers.blueprint, workers, Journal(Folder(tmp_path), config))
    assert list(report.missing.rejected) == [1]
    assert re.match(message, report.missing.rejected[1])
    layout = workers.blueprint.layout
    total = MaskedSum(layout.segments)
    for update in workers.updates:
        if update.task.client != 1:
            total.add(layout.held(update.task.layers, update.task.sent), update.values)
    assert outcome.values.tobytes() == total.mean(layout.initial(0)).tobytes()
    (row,) = table(tmp_path, "rounds")
    assert (row["rejected"], row["cohort"]) == ([1], [0, 1, 2])
    assert [each["client"] for each in table(tmp_path, "clients")] == [0, 2]


def test_a_cohort_without_a_valid_update_keeps_the_model(config: ExperimentConfig, tmp_path: Path) -> None:
    workers = Spoiling(config, {client: BAD["nan"][0] for client in range(3)})
    outcome = finish(workers, tmp_path)
    assert outcome.values.tobytes() == workers.blueprint.layout.initial(0).tobytes()
    assert [row["rejected"] for row in table(tmp_path, "rounds")] == [[0, 1, 2]] * 2


class Failing(InProcess):
    """Client 1 fails for good."""

    def answer(self, update: ClientUpdate) -> ClientUpdate | ClientFailure:
        return ClientFailure(update.task, "no luck") if update.task.client == 1 else update


def test_a_failed_client_ends_the_run_or_is_dropped(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(ClientLostError, match="round 1: client 1 failed 3 times, the last time with: no luck"):
        finish(Failing(config), tmp_path / "fail")
    config.on_client_failure = "drop"
    finish(Failing(config), tmp_path / "drop")
    rows = table(tmp_path / "drop", "rounds")
    assert [(row["cohort"], row["dropped"]) for row in rows] == [([0, 1, 2], [1])] * 2


def test_clients_that_drop_out_or_are_late_are_the_same_after_a_restart(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    config.fleet.num_clients, config.fleet.dropout = 9, 0.3
    config.fleet.straggler_spread, config.fleet.round_deadline = 1.0, 2.0
    config.rounds, config.checkpoint.every = 4, 1
    whole = finish(InProcess(config), tmp_path / "whole")
    parts = restarted(config, tmp_path / "parts", failing=8)
    assert parts.values.tobytes() == whole.values.tobytes()
    rows = table(tmp_path / "whole", "rounds")
    assert rows == table(tmp_path / "parts", "rounds")
    assert sum(len(row["dropped"]) for row in rows) > 3
    assert sum(len(row["late"]) for row in rows) > 3
    for row in rows:
        trained = [each["client"] for each in table(tmp_path / "whole", "clients") if each["round"] == row["round"]]
        assert sorted([*trained, *row["dropped"], *row["late"]]) == row["cohort"] == list(range(9))


@pytest.fixture
def damaged(config: ExperimentConfig, tmp_path: Path) -> ExperimentConfig:
    """A data set whose row 2, a training image of `dark`, is no image."""
    source = pq.read_table(config.dataset.root)
    images = source["image"].to_pylist()
    images[2] = b"no image at all"
    config.dataset.root = str(tmp_path / "damaged.parquet")
    pq.write_table(source.set_column(source.schema.get_field_index("image"), "image", [images]), config.dataset.root)
    config.training.max_steps = None
    return config


def test_an_image_that_cannot_be_read_ends_the_run_and_is_named(damaged: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"damaged.parquet, row 2: not an image of a known format"):
        finish(InProcess(damaged), tmp_path / "run")


def test_a_skipped_image_is_recorded_once_and_changes_nothing_else(damaged: ExperimentConfig, tmp_path: Path) -> None:
    damaged.dataset.on_error = "skip"
    first = finish(InProcess(damaged), tmp_path / "first")
    (row,) = table(tmp_path / "first", "skipped")
    assert row["round"] == 1
    assert row["image"].endswith("damaged.parquet, row 2")
    damaged.dataset.memory_mb = 0
    second = finish(InProcess(damaged, arrival=1), tmp_path / "second")
    assert first.values.tobytes() == second.values.tobytes()
    assert table(tmp_path / "second", "skipped") == [row]
