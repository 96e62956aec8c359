import dataclasses
import json
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peft
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.numpy import load_file
from support import ray_workers, running

from fedra_ray import run_local
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import CheckpointConfig, ExperimentConfig, MethodConfig, RuntimeConfig
from fedra_ray.data.parquet import ParquetDataset
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.records import SCHEMAS, read_table
from fedra_ray.runtime.driver import run_experiment

pytestmark = pytest.mark.usefixtures("local_ray")


def adapter_bytes(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (Path(folder) / "adapter").iterdir()}


Make = Callable[[Path], ExperimentConfig]


@pytest.fixture(scope="module")
def finished(make_config: Make, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> ExperimentConfig:
    """A run of three rounds that nothing disturbed; tests change copies of it alone."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run")
    config.rounds = 3
    config.evaluation.every = 2
    run_experiment(config)
    return config


def test_a_run_leaves_records_adapter_checkpoint_and_summary(finished: ExperimentConfig) -> None:
    folder = Path(finished.run_dir)
    names = {path.name for path in folder.iterdir()}
    tables = {f"{name}.parquet" for name in SCHEMAS}
    partition = {"partition.parquet", "partition.png"}
    assert names == {"config.yaml", "adapter", "checkpoints", "summary.json", "report.html"} | tables | partition
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


def test_two_actors_write_the_bytes_of_one(finished: ExperimentConfig, tmp_path: Path) -> None:
    run_dir = str(tmp_path / "two")
    run_experiment(dataclasses.replace(finished, run_dir=run_dir, runtime=RuntimeConfig(max_actors=2)))
    assert adapter_bytes(run_dir) == adapter_bytes(finished.run_dir)


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
    summary = run_experiment(dataclasses.replace(finished, runtime=RuntimeConfig(max_actors=2)))
    assert "already finished" in capsys.readouterr().out
    assert summary["rounds"] == 3
    assert {path: path.stat().st_mtime_ns for path in Path(finished.run_dir).rglob("*")} == before
    with pytest.raises(SettingError, match=r"^seed=7: .* holds a run with seed=0"):
        run_experiment(dataclasses.replace(finished, seed=7))


#: The command line's way of ending, for a configuration that is made in Python.
MAIN = """
import pickle, sys
from fedra_ray.cli.ending import exit_code
from fedra_ray.runtime.driver import run_experiment
sys.exit(exit_code(lambda: run_experiment(pickle.loads(bytes.fromhex(sys.argv[1])))))
"""


def adapter(run_dir: str | Path) -> bytes:
    return (Path(run_dir) / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_lost_server_goes_on_from_the_last_checkpoint_with_the_same_result(
    finished: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disturbed = dataclasses.replace(finished, run_dir=str(tmp_path / "disturbed"))
    disturbed.checkpoint = CheckpointConfig(every=1)

    def kill_after_the_first_round() -> None:
        while not list(Path(disturbed.run_dir).glob("checkpoints/round_000001-*.safetensors")):
            time.sleep(0.01)
        (server,) = ray_workers("Server")
        server.kill()

    killer = threading.Thread(target=kill_after_the_first_round)
    killer.start()
    run_experiment(disturbed)
    killer.join()
    assert "the server actor is gone; a new one goes on" in capsys.readouterr().out
    assert adapter(disturbed.run_dir) == adapter(finished.run_dir)
    rounds = pq.read_table(Path(disturbed.run_dir) / "rounds.parquet")["round"].to_pylist()
    assert rounds == [1, 2, 3]


def test_a_client_that_never_works_is_dropped_if_the_configuration_says_so(
    config: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.method = MethodConfig("faulty", target="fedra_ray.testing.faulty.Faulty", options={"how": "raise"})
    config.on_client_failure = "drop"
    config.dataset.options = {"classes": ["square", "cross"]}
    summary = run_experiment(config)
    assert summary["dropped"] == {"1": 2}
    assert summary["class_numbers"] == {"square": 0, "cross": 2}
    lines = capsys.readouterr().out.splitlines()
    assert "on shapes: 3 domains, 2 classes, 48 train, 12 validation, 12 test images; 3 clients" in lines[0]
    assert lines[1:3] == [
        "shapes: takes 2 of 3 classes",
        "shapes: labels 0 to 1 stand for the data set's numbers 0 (square), 2 (cross)",
    ]
    assert lines.count("  did not answer: 1") == 2
    assert "dropped clients, and in how many rounds: 1 (2)" in lines


def test_a_lost_client_ends_the_command_with_exit_code_1(
    config: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.method = MethodConfig("faulty", target="fedra_ray.testing.faulty.Faulty", options={"how": "raise"})
    assert exit_code(lambda: run_experiment(config)) == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert "client 1 failed 3 times" in message
    assert not (Path(config.run_dir) / "summary.json").exists()


def test_a_run_that_finds_no_room_for_a_client_actor_ends_with_the_numbers_and_can_be_taken_up_again(
    config: ExperimentConfig, finished: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config.rounds, config.evaluation.every = finished.rounds, finished.evaluation.every
    config.runtime = RuntimeConfig(max_actors=1, num_cpus=64, wait_s=3.0)
    assert exit_code(lambda: run_experiment(config)) == 1
    output = capsys.readouterr()
    assert "s for the start of client actors, 1 with 64 CPUs and 0 GPUs; Ray has 4 CPUs (" in output.err
    assert "runtime.wait_s=3 allows no more" in output.err
    assert f"the same command with run_dir={config.run_dir} goes on" in output.out
    config.runtime = RuntimeConfig(max_actors=1)
    run_experiment(config)
    assert adapter(config.run_dir) == adapter(finished.run_dir)


def test_a_run_directory_may_be_an_object_store(finished: ExperimentConfig, bucket: tuple[str, str]) -> None:
    remote = dataclasses.replace(finished, run_dir=f"{bucket[0]}/runs/first?{bucket[1]}")
    summary = run_experiment(remote)
    folder = Folder(remote.run_dir)
    assert folder.below("adapter").read("adapter_model.safetensors") == adapter(finished.run_dir)
    assert json.loads(folder.read("summary.json")) == summary
    assert read_table(folder, "rounds")["round"].to_pylist() == [1, 2, 3]
    assert run_experiment(remote) == summary


INTERRUPTIONS = [
    (signal.SIGKILL, -9),
    pytest.param(signal.SIGINT, 130, marks=pytest.mark.heavy),
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.heavy),
]


@pytest.mark.parametrize(("number", "code"), INTERRUPTIONS)
def test_an_interrupted_command_is_taken_up_again_with_the_same_result(
    number: signal.Signals, code: int, config: ExperimentConfig, tmp_path: Path
) -> None:
    config.rounds, config.checkpoint.every, config.runtime.address = 40, 3, "local"
    started = [sys.executable, "-c", MAIN, pickle.dumps(config).hex()]
    # what a shell runs in the background ignores SIGINT, and so does what that starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with running(started, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.startswith("round  8/40"):
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == code
    points = sorted(path.name[:12] for path in Path(config.run_dir).glob("checkpoints/*"))
    if number is signal.SIGKILL:
        assert points[-1] >= "round_000006"
    else:
        saved = int(re.search(r"saved after round (\d+)", rest)[1])
        assert points[-1] == f"round_{saved:06d}"
        assert saved >= 8
    assert not (Path(config.run_dir) / "summary.json").exists()
    run_experiment(config)
    alone = dataclasses.replace(config, run_dir=str(tmp_path / "alone"))
    run_local(alone)
    assert adapter(config.run_dir) == adapter(alone.run_dir)
    assert pq.read_table(Path(config.run_dir) / "rounds.parquet")["round"].to_pylist() == list(range(1, 41))
