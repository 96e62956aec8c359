"""`fedra-ray report`: the page of runs that have finished."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedra_ray import run_local
from fedra_ray.cli.main import main
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.report.page import FILE


@pytest.fixture(scope="module")
def finished(make_config: Callable[[Path], ExperimentConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests do not change it."""
    config = make_config(tmp_path_factory.mktemp("finished") / "run")
    run_local(config)
    return Path(config.run_dir)


def test_the_page_of_a_run_is_written_anew(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    (folder / FILE).unlink()
    assert main(["report", f"{folder}/"]) == 0
    assert capsys.readouterr().out == f"report written to {folder}/{FILE}\n"
    again = (finished / FILE).read_text()
    for place in ("· {}<", "--config {}/", "run_dir={}-again"):
        assert place.format(finished) in again
        again = again.replace(place.format(finished), place.format(folder))
    assert (folder / FILE).read_text() == again


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
