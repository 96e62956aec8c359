import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedra_ray.cli.verbs import VERBS, main


@pytest.fixture
def overrides(miniature: list[str], tmp_path: Path) -> list[str]:
    """Two rounds in the miniature world."""
    return [*miniature, f"run_dir={tmp_path / 'run'}", "rounds=2"]


REFUSED = {
    "unknown key": ("training.learning_rate=1", ["training.learning_rate"]),
    "unknown group": ("metod=fedra", ["metod"]),
    "unknown method": ("method=fedavg", ["method", "fedavg", "fedra", "depthfl"]),
    "wrong type": ("rounds=many", ["rounds", "many", "Integer"]),
    "out of range": ("rounds=0", ["rounds=0", "at least 1"]),
    "unknown choice": ("aggregation.weighting=size", ["aggregation.weighting=size", "uniform, examples"]),
    "too deep": ("fleet.depths=[5,2,1]", ["fleet.depths=[5, 2, 1]", "at most 4"]),
    "too large a cohort": (
        "fleet.clients_per_round=4",
        ["fleet.clients_per_round=4", "at most fleet.num_clients", "3"],
    ),
    "no root": ("dataset.root=", ["dataset.root=", "name the file or folder"]),
    "no such folder": ("dataset=domainnet", ["dataset.root=", "clipart_train.txt"]),
    "no partition": ("partition=pathological", ["partition", "feature_label_skew"]),
    "no column": (
        "dataset.options.columns.domain=style",
        ["dataset.root=", "lacks the columns style", "dataset.options.columns"],
    ),
    "no such option of a group": ("dataset.options.colour=red", ["dataset.options.colour=red"]),
    "no experiment": ("experiment=paper/imagenet", ["experiment", "paper/imagenet"]),
    "too little memory": ("fleet.memory_mb=[0.1]", ["fleet.memory_mb", "not even one block"]),
    "no depth": ("fleet.probabilities=[1,0,0]", ["fleet.probabilities", "fleet.dynamic=true"]),
    "too many clients": ("fleet.num_clients=1000", ["fleet.num_clients=1000", "24 training images", "334 clients"]),
    "no data set": ("dataset.root=/nowhere.parquet", ["dataset.root=/nowhere.parquet", "no such"]),
    "no checkpoint": ("backbone.checkpoint=/nowhere.pt", ["backbone.checkpoint=/nowhere.pt", "no such file"]),
    "unknown model": ("backbone.model=vit_enormous", ["backbone.model=vit_enormous", "timm"]),
    "no such module": ("lora.targets=[attn.query]", ["lora.targets=['attn.query']", "attn.proj", "mlp.fc2"]),
    "cannot cover": ("fleet.depths=[1,1,1]", ["method.options.draw=covering", "3 layers", "4"]),
    "unknown option": ("+method.options.speed=9", ["method.options.speed=9", "FedRA"]),
    "bad syntax": ("fleet.depths=[4,2", ["fleet.depths"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_setting_ends_in_one_line_before_any_actor(
    case: str, overrides: list[str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    override, expected = REFUSED[case]
    extra = ["method.options.draw=covering"] if case == "cannot cover" else []
    key = override.partition("=")[0]
    kept = [other for other in overrides if other.partition("=")[0] != key]
    assert main([*kept, *extra, override]) == 2
    message = capfd.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    assert "Traceback" not in message
    for part in expected:
        assert part in message
    assert not (tmp_path / "run").exists()


def test_an_address_without_a_cluster_is_refused_within_seconds(overrides: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedra_ray", *overrides, "runtime.address=127.0.0.1:1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith("error: runtime.address=127.0.0.1:1: no Ray cluster answers there")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_verb_is_refused_with_the_known_ones(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == 2
    assert ", ".join(VERBS) in capfd.readouterr().err


def test_help_names_every_verb_with_a_line_and_loads_nothing_heavy() -> None:
    code = "import sys; from fedra_ray.cli.verbs import VERBS, main; main(['--help']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "run        Run an experiment" in result.stdout
    assert result.stdout.endswith("False\n")


def test_the_command_runs_from_any_folder_and_says_what_a_person_expects(overrides: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fedra_ray", *overrides, "method=inclusivefl", "runtime.max_actors=1"]
    environment = {**os.environ, "COLUMNS": "100"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    rounds = [line for line in lines if line.startswith("round ")]
    assert len(rounds) == 2
    assert all("elapsed" in line and "eta" in line for line in rounds)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert any("mean" in line and f"{summary['mean_accuracy']:.2%}" in line for line in lines)
    assert lines[-1] == f"results in {tmp_path / 'run'}"
