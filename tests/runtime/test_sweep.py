import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import running

from analysis.runs.in_process import run_here
from fedra_ray.cli.main import main
from fedra_ray.run_dir.folder import Folder

LENGTH = ["rounds=25", "training.max_steps=2"]


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_an_interrupted_sweep_goes_on_and_a_failed_run_takes_no_other_with_it(
    miniature: list[str], tmp_path: Path
) -> None:
    foreign = tmp_path / "sweep" / "seed=1" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    swept = ["seed=0,1,2", f"run_dir={tmp_path / 'sweep'}", "watch.tensorboard=true"]
    command = [sys.executable, "-m", "fedra_ray", "sweep", *miniature, *swept, *LENGTH]
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "  round 5/25" in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 143
    assert "saved after round" in rest
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert again.returncode == 1
    assert again.stderr.strip() == "error: 1 of 3 runs failed; the same command tries them again"
    assert "(2 seeds)" in (tmp_path / "sweep" / "report.html").read_text()
    table = pq.read_table(tmp_path / "sweep" / "results.parquet").to_pylist()
    found = [(row["seed"], row["status"]) for row in table]
    assert found == [("0", "finished"), ("1", "failed"), ("2", "finished")]
    assert "holds other files" in table[1]["error"]
    for row in (table[0], table[2]):
        folder = tmp_path / "sweep" / row["run"]
        assert pq.read_table(folder / "rounds.parquet")["round"].to_pylist() == list(range(1, 26))
        assert list((folder / "tensorboard").iterdir())
        alone = tmp_path / "alone" / row["run"]
        run_here([*miniature, *LENGTH, f"seed={row['seed']}", f"run_dir='{alone}'"])
        assert adapter(alone) == adapter(folder)


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_in_an_object_store_is_not_run_again(
    miniature: list[str], bucket: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    place, query = bucket
    overrides = [*miniature, "rounds=1", "training.max_steps=1", "training.precision=fp32,bf16", "runtime.max_actors=1"]
    command = ["sweep", *overrides, f"run_dir='{place}/a%20sweep?{query}'"]
    assert main(command) == 0
    assert f"results in {place}/a%20sweep/results.parquet?{query}" in capsys.readouterr().out
    folder = Folder(f"{place}/a%20sweep?{query}")
    runs = ["training.precision=bf16", "training.precision=fp32"]
    assert folder.names() == ["report.html", "results.parquet", *runs]
    adapters = {folder.below(run).below("adapter").read("adapter_model.safetensors") for run in runs}
    assert len(adapters) == 2
    assert None not in adapters
    monkeypatch.setattr("fedra_ray.runtime.sweep.check_run", lambda config: pytest.fail("drawn up again"))
    monkeypatch.setattr("fedra_ray.runtime.sweep.connected", lambda *_: pytest.fail("connected for nothing"))
    assert main(command) == 0
    assert capsys.readouterr().out.count("already finished") == 2


@pytest.mark.heavy
@pytest.mark.usefixtures("local_ray")
def test_hydras_multirun_runs_a_grid_one_after_another(
    miniature: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fedra-ray"])
    overrides = [*miniature, "seed=0,1", "rounds=1", "runtime.max_actors=1", "hydra.sweep.dir=grid"]
    assert main(["--multirun", *overrides]) == 0
    assert adapter(tmp_path / "grid" / "0" / "run") != adapter(tmp_path / "grid" / "1" / "run")
