"""`fedra-ray report`, and what becomes of a run whose page cannot be drawn."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_experiment import InProcess

from fedra_ray.cli.verbs import main, usage
from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.experiment import run
from fedra_ray.federation.reports import Outcome
from fedra_ray.report.page import FILE
from fedra_ray.run_dir.claim import prepare, read_summary
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.journal import Journal
from fedra_ray.watch import results


def outcome_of(config: ExperimentConfig) -> tuple[Folder, InProcess, Outcome]:
    """A run all of whose rounds are done, and nothing more."""
    workers = InProcess(config)
    folder = Folder(config.run_dir)
    prepare(folder, config)
    *_, outcome = run(workers.blueprint, workers, Journal(folder, workers.blueprint.config))
    assert isinstance(outcome, Outcome)
    return folder, workers, outcome


@pytest.fixture(scope="module")
def finished(make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests do not change it."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run")
    folder, workers, outcome = outcome_of(config)
    results.write(folder, workers.blueprint, outcome)
    return Path(config.run_dir)


def test_the_page_of_a_run_is_written_anew(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / FILE).unlink()
    assert main(["report", f"{folder}/"]) == 0
    assert capsys.readouterr().out == f"the report is {folder}/{FILE}\n"
    assert (folder / FILE).read_text() == (finished / FILE).read_text().replace(f"· {finished}<", f"· {folder}<")


def test_several_runs_have_a_page_where_one_is_asked_for(finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    written = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(written.replace("batch_size: 8", "batch_size: 4"))
    assert main(["report", f"file://{finished}", str(other), "--out", str(tmp_path / "pages" / "both.html")]) == 0
    assert "FedRA, batch_size=4" in (tmp_path / "pages" / "both.html").read_text()


def test_without_a_place_several_runs_have_theirs_here(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("seed: 0", "seed: 1"))
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(finished), str(other)]) == 0
    assert "(2 seeds)" in (tmp_path / FILE).read_text()


def test_what_is_no_finished_run_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: RUN_DIR={tmp_path}: holds no finished run")
    assert main(["report", str(finished), str(finished), "--out", str(tmp_path / "page.html")]) == 2
    assert "is the same run as" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_help_names_the_verb() -> None:
    assert "fedra-ray report RUN_DIR ... [--out report.html]" in usage()


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
