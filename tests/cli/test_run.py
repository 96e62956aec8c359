"""`fedra-ray run`: what it refuses, what it prints, and runs that start from the config.yaml of another."""

import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from fedra_ray import run_local
from fedra_ray.cli.main import main
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import prepare
from fedra_ray.run_dir.folder import Folder


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


def adapter(run_dir: Path) -> bytes:
    return (run_dir / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two rounds; tests do not change it."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run, of mine")
    config.fleet.devices, config.fleet.memory_mb = ["phone"], [4.0, 0.6]
    run_local(config)
    return Path(config.run_dir)


def test_a_run_is_repeated_from_its_own_configuration_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedra_ray.cli.run.start", run_local)
    assert main(["run", "--config", f"{finished}/config.yaml", f"run_dir={tmp_path / 'again'}"]) == 0
    assert adapter(tmp_path / "again") == adapter(finished)
    assert main([f"run_dir={tmp_path / 'other'}", "seed=1", f"--config=file://{quote(str(finished))}/config.yaml"]) == 0
    assert adapter(tmp_path / "other") != adapter(finished)


def test_a_repeated_run_without_a_folder_of_its_own_gets_a_new_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedra_ray.cli.run.start", run_local)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--config", f"{finished}/config.yaml"]) == 0
    (again,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"fedra-\d{8}-\d{6}-\d{6}", again.name)
    assert adapter(again) == adapter(finished)


def test_the_command_of_a_page_repeats_its_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fedra_ray.cli.run.start", run_local)
    page = (finished / "report.html").read_text()
    (command,) = re.findall(r'<pre class="command"><code>fedra-ray (.*)</code></pre>', page)
    assert main(shlex.split(html.unescape(command))) == 0
    assert adapter(finished.with_name("run, of mine-again")) == adapter(finished)


def test_an_unfinished_run_is_resumed_by_the_command_that_status_shows(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fedra_ray.cli.run.start", run_local)
    prepare(Folder(config.run_dir), config)
    assert main(["status", config.run_dir]) == 0
    (command,) = re.findall("to start it: fedra-ray (.*)", capsys.readouterr().out)
    assert main(shlex.split(command)) == 0
    assert (Path(config.run_dir) / "summary.json").exists()


def test_multirun_and_config_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--multirun", "--config", "runs/first/config.yaml", "seed=0,1"]) == 2
    assert capsys.readouterr().err == "error: --config=runs/first/config.yaml: does not go with --multirun; use sweep\n"
