from pathlib import Path

import pytest

from analysis.command import answer, images, rounds
from analysis.runs.reading import Run


def test_runs_and_options_reach_the_question(fedra_run: str, tmp_path: Path) -> None:
    received: list[object] = []

    def leave(runs: list[Run], out: str, rounds: list[int] | None, images: int) -> None:
        received.extend([[str(run.folder) for run in runs], out, rounds, images])

    arguments = [fedra_run, "--out", str(tmp_path), "--rounds", "1", "2"]
    assert answer("name", "What?", leave, arguments, rounds("all"), images(5, "a domain")) == 0
    assert received == [[fedra_run], str(tmp_path), [1, 2], 5]


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer("name", "What?", lambda runs, out: None, [str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: RUN_DIR={tmp_path}: holds no finished run")
