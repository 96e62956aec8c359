import dataclasses
import json
from pathlib import Path

import numpy as np
import peft
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.numpy import load_file

from fedra_ray.config import ExperimentConfig, FleetConfig, RuntimeConfig
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.errors import SettingError
from fedra_ray.records import SCHEMAS
from fedra_ray.runtime.driver import run_experiment

pytestmark = pytest.mark.usefixtures("local_ray")


def adapter_bytes(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (Path(folder) / "adapter").iterdir()}


@pytest.fixture
def finished(config: ExperimentConfig) -> ExperimentConfig:
    config.rounds = 3
    config.evaluation.every = 2
    config.runtime = RuntimeConfig(actors=1)
    run_experiment(config)
    return config


def test_a_run_leaves_records_adapter_checkpoint_and_summary(finished: ExperimentConfig) -> None:
    folder = Path(finished.run_dir)
    names = {path.name for path in folder.iterdir()}
    tables = {f"{name}.parquet" for name in SCHEMAS}
    partition = {"partition.parquet", "partition.png"}
    assert names == {"config.yaml", "adapter", "checkpoints", "summary.json"} | tables | partition
    rounds = pq.read_table(folder / "rounds.parquet").to_pylist()
    clients = pq.read_table(folder / "clients.parquet").to_pylist()
    assert [row["round"] for row in rounds] == [1, 2, 3]
    assert [(row["round"], row["client"]) for row in clients] == [(r, k) for r in (1, 2, 3) for k in range(3)]
    for row in rounds:
        of_round = [client for client in clients if client["round"] == row["round"]]
        held = [sum(layer in client["layers"] for client in of_round) for layer in range(4)]
        assert row["layer_holders"] == held
        assert sum(held) == 4 + 2 + 1
        assert row["bytes_up"] == sum(client["bytes_up"] for client in of_round)
    evaluations = pq.read_table(folder / "evaluations.parquet").to_pylist()
    assert [row["round"] for row in evaluations] == [2, 2, 2, 3, 3, 3]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["accuracy"] == {row["domain"]: row["top1"] for row in evaluations if row["round"] == 3}
    assert summary["mean_accuracy"] == pytest.approx(np.mean(list(summary["accuracy"].values())))


def test_two_actors_and_a_repeat_write_the_same_bytes(finished: ExperimentConfig, tmp_path: Path) -> None:
    for name, actors in (("two", 2), ("again", 1)):
        run_dir = str(tmp_path / name)
        run_experiment(dataclasses.replace(finished, run_dir=run_dir, runtime=RuntimeConfig(actors=actors)))
        assert adapter_bytes(run_dir) == adapter_bytes(finished.run_dir)
    other = dataclasses.replace(finished, seed=1, run_dir=str(tmp_path / "other"))
    run_experiment(other)
    assert adapter_bytes(other.run_dir) != adapter_bytes(finished.run_dir)


def test_plain_timm_and_peft_reach_the_accuracy_of_the_summary(finished: ExperimentConfig) -> None:
    folder, backbone = Path(finished.run_dir), finished.backbone
    model = timm.create_model(backbone.model, num_classes=0, **backbone.model_args, checkpoint_path=backbone.checkpoint)
    model.reset_classifier(3)
    model = peft.PeftModel.from_pretrained(model, str(folder / "adapter")).eval()
    dataset = ParquetDataset(finished.dataset.root, image_size=16)
    summary = json.loads((folder / "summary.json").read_text())
    for domain in dataset.domains:
        labels = torch.from_numpy(dataset.labels(domain, "test"))
        pixels = torch.from_numpy(dataset.images(domain, "test", np.arange(len(labels))))
        with torch.no_grad():
            correct = model((pixels / 255 - 0.5) / 0.5).argmax(dim=1) == labels
        assert correct.float().mean().item() == pytest.approx(summary["accuracy"][domain])
    moved = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert any(np.abs(value).max() > 0 for name, value in moved.items() if "lora_B" in name)


def test_a_finished_run_is_shown_and_not_overwritten(
    finished: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(finished.run_dir).rglob("*")}
    summary = run_experiment(dataclasses.replace(finished, runtime=RuntimeConfig(actors=2)))
    assert "already finished" in capsys.readouterr().out
    assert summary["rounds"] == 3
    assert {path: path.stat().st_mtime_ns for path in Path(finished.run_dir).rglob("*")} == before
    with pytest.raises(SettingError, match=r"^seed=7: .* holds a run with seed=0"):
        run_experiment(dataclasses.replace(finished, seed=7))


def test_a_fleet_in_which_nobody_holds_the_model_runs_and_records_its_coverage(config: ExperimentConfig) -> None:
    config.fleet = FleetConfig(depths=[1, 1, 1], num_clients=3)
    run_experiment(config)
    for row in pq.read_table(Path(config.run_dir) / "rounds.parquet").to_pylist():
        assert sum(row["layer_holders"]) == 3
        assert 0 in row["layer_holders"]
