import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import note_round

from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.federation.messages import ClientReport, ClientTask
from fedra_ray.federation.traffic import Traffic
from fedra_ray.report.facts import MOST_CLIENTS, Facts, read
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import Records


def copied(run: str, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "copy"))


def test_a_run_tells_what_its_files_hold(facts: Facts, fedra_run: str) -> None:
    summary = json.loads((Path(fedra_run) / "summary.json").read_text())
    assert (facts.method, facts.dataset, facts.backbone, facts.clients) == ("FedRA", "shapes", "tiny_vit", 3)
    assert (facts.accuracy, facts.mean) == (summary["accuracy"], summary["mean_accuracy"])
    assert facts.numbers.tolist() == [1, 2]
    assert facts.losses.tolist() == pq.read_table(Path(fedra_run) / "rounds.parquet")["train_loss"].to_pylist()
    assert facts.cost.bytes_up == summary["bytes_up"] > 0
    assert len(facts.scores) == 6
    assert facts.settings["fleet.depths"] == [4, 2, 1]


def test_shares_count_the_rounds_in_which_a_client_held_a_layer(facts: Facts, fedra_run: str) -> None:
    assert facts.holdings.names == ["0 dark (4)", "1 light (2)", "2 noisy (1)"]
    assert facts.holdings.share[0].tolist() == [1, 1, 1, 1]
    assert facts.holdings.share.sum(axis=1).tolist() == [4, 2, 1]
    rows = pq.read_table(Path(fedra_run) / "clients.parquet").to_pylist()
    third = [row["layers"] for row in rows if row["client"] == 2]
    assert facts.holdings.share[2].tolist() == [sum(layer in held for held in third) / 2 for layer in range(4)]
    assert np.array_equal((facts.holdings.share * 2).sum(axis=0), facts.holders.sum(axis=0))


def records(folder: Path, held: list[tuple[int, tuple[int, ...]]]) -> None:
    """One round in which clients 0, 1, ... of these depths hold these layers of four."""
    kept = Records(Folder(folder))
    clients = [
        ClientReport(ClientTask(1, client, layers, ("head",)), Traffic(40, 40), 8, 1, 0.5, 0.1)
        for client, (_, layers) in enumerate(held)
    ]
    note_round(kept, clients, [depth for depth, _ in held])
    kept.finish()


def test_a_large_fleet_is_told_by_depth(fedra_run: str, tmp_path: Path) -> None:
    folder = copied(fedra_run, tmp_path)
    records(folder, [(1, (0,)), (1, (1,)), *[(2, (0, 3))] * (MOST_CLIENTS - 1)])
    found = read(Folder(folder)).holdings
    assert found.by_depth
    assert found.names == ["depth 2 (39 clients)", "depth 1 (2 clients)"]
    assert found.share.tolist() == [[1, 0, 0, 1], [0.5, 0.5, 0, 0]]


def test_depths_that_change_are_told_as_a_span(make_run: Callable[..., str]) -> None:
    def change(config: ExperimentConfig) -> None:
        config.fleet.dynamic, config.rounds = True, 6

    run = make_run(change)
    rows = pq.read_table(Path(run) / "clients.parquet").to_pylist()
    for client, name in enumerate(read(Folder(run)).holdings.names):
        depths = sorted({row["depth"] for row in rows if row["client"] == client})
        assert name.endswith(f"({depths[0]})" if len(depths) == 1 else f"({depths[0]} to {depths[-1]})")


def test_a_summary_that_is_still_to_be_written_is_taken(fedra_run: str, facts: Facts, tmp_path: Path) -> None:
    folder = copied(fedra_run, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    assert read(Folder(folder), summary).accuracy == facts.accuracy
    with pytest.raises(SettingError, match="no finished run"):
        read(Folder(folder))


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "rounds.parquet", "clients.parquet"])
def test_a_damaged_file_is_named(fedra_run: str, tmp_path: Path, name: str) -> None:
    folder = copied(fedra_run, tmp_path)
    (folder / name).write_bytes(b"[1, 2")
    with pytest.raises(SettingError, match=f"its {name} is damaged"):
        read(Folder(folder))


def test_a_layer_that_the_model_does_not_have_is_refused(fedra_run: str, tmp_path: Path) -> None:
    folder = copied(fedra_run, tmp_path)
    records(folder, [(1, (7,))])
    with pytest.raises(SettingError, match=r"clients.parquet is damaged.*layer 7 of 4"):
        read(Folder(folder))
