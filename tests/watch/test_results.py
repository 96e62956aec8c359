import json
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import InProcess
from PIL import Image
from support import note_round

from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.experiment import run
from fedra_ray.federation.messages import ClientReport, ClientTask, Score
from fedra_ray.federation.reports import Outcome
from fedra_ray.federation.traffic import Traffic
from fedra_ray.preflight import check_experiment
from fedra_ray.report.page import FILE
from fedra_ray.run_dir.claim import prepare, read_summary
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.run_dir.parts import to_parquet
from fedra_ray.run_dir.records import Records
from fedra_ray.watch import results


def test_a_finished_run_leaves_its_adapter_and_summary(config: ExperimentConfig, tmp_path: Path) -> None:
    blueprint, _ = check_experiment(config)
    records = Records(Folder(tmp_path))
    for number in (1, 2):
        task = ClientTask(number, 0, (0,), ("head",))
        update = ClientReport(task, Traffic(40, 40), 8, 1, 0.5, 0.1)
        note_round(records, [update], 4, number)
    records.finish()
    prepare(Folder(tmp_path), config)
    Folder(tmp_path).write("partition.parquet", to_parquet(blueprint.division().table()))
    assert read_summary(Folder(tmp_path)) is None
    scores = [Score("dark", "test", 8, 2, 8, 1.0), Score("light", "test", 4, 3, 4, 1.0)]
    summary = results.write(Folder(tmp_path), blueprint, Outcome(blueprint.layout.initial(0), scores))
    assert summary["accuracy"] == {"dark": 0.25, "light": 0.75}
    assert summary["mean_accuracy"] == 0.5
    assert (summary["method"], summary["dataset"], summary["backbone"]) == ("fedra", "shapes", "tiny_vit")
    assert (summary["rounds"], summary["seconds"], summary["bytes_up"]) == (2, 3.0, 80)
    assert summary["evaluated_layers"] == [0, 1, 2, 3]
    assert summary["class_numbers"] is None  # they are the labels
    assert summary["kernels"] == "fused"
    assert summary["versions"]["torch"][0].isdigit()
    assert read_summary(Folder(tmp_path)) == json.loads((tmp_path / "summary.json").read_text()) == summary
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "model.json",
    }
    assert (summary["depths"], summary["partition"], summary["skipped_images"]) == ([4, 2, 1], "feature_skew", 0)
    assert Image.open(tmp_path / "partition.png").format == "PNG"
    assert "FedRA reached 50.0\u00a0% mean test accuracy over 2 domains" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob("*.part"))


def test_without_the_tables_nothing_is_marked_as_finished(config: ExperimentConfig, tmp_path: Path) -> None:
    blueprint, _ = check_experiment(config)
    with pytest.raises(FileNotFoundError):
        results.write(Folder(tmp_path), blueprint, Outcome(blueprint.layout.initial(0), []))
    assert read_summary(Folder(tmp_path)) is None


def outcome_of(config: ExperimentConfig) -> tuple[Folder, InProcess, Outcome]:
    """A run all of whose rounds are done, and nothing more."""
    workers = InProcess(config)
    folder = Folder(config.run_dir)
    prepare(folder, config)
    *_, outcome = run(workers.blueprint, workers, Journal(folder, workers.blueprint.config))
    assert isinstance(outcome, Outcome)
    return folder, workers, outcome


def test_the_summary_says_why_the_kernels_were_not_used(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "unavailable", lambda: "torch 9.0: AttributeError: gone")
    folder, workers, outcome = outcome_of(config)
    assert results.write(folder, workers.blueprint, outcome)["kernels"] == "plain: torch 9.0: AttributeError: gone"


def test_a_page_that_cannot_be_drawn_costs_no_results(
    config: ExperimentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, workers, outcome = outcome_of(config)
    (Path(config.run_dir) / "clients.parquet").write_bytes(b"PAR1")
    summary = results.write(folder, workers.blueprint, outcome)
    assert read_summary(folder) == summary
    assert FILE not in folder.names()
    warning = capsys.readouterr().err
    assert len(warning.splitlines()) == 1
    assert warning.startswith(f"warning: {FILE} was not written (SettingError: ")
    assert f"fedra-ray report {folder}" in warning


def test_a_folder_that_takes_no_page_leaves_the_run_to_be_finished(config: ExperimentConfig) -> None:
    folder, workers, outcome = outcome_of(config)
    (Path(config.run_dir) / FILE).mkdir()
    (Path(config.run_dir) / FILE / "full").touch()
    with pytest.raises(RunFailedError, match=FILE):
        results.write(folder, workers.blueprint, outcome)
    assert read_summary(folder) is None


def test_finished_runs_are_compared_on_one_page(
    make_run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(config: ExperimentConfig) -> None:
        config.seed = 1

    runs = [Folder(make_run()), Folder(make_run(other))]
    assert results.write_comparison(Folder(tmp_path), runs) == str(tmp_path / FILE)
    assert "(2 seeds)" in (tmp_path / FILE).read_text()
    (tmp_path / FILE).unlink()
    assert results.write_comparison(Folder(tmp_path), [runs[0], runs[0]]) is None
    assert "is the same run as" in capsys.readouterr().err
    assert results.write_comparison(Folder(tmp_path), []) is None
    assert not (tmp_path / FILE).exists()
