from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis.questions.convergence import analyse, default_target, draw
from analysis.runs.accuracy import of_runs
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import to_parquet


@pytest.fixture
def learned(several_runs: dict[str, Run], tmp_path: Path) -> list[Run]:
    """FedRA with two seeds and FedRA on another fleet, with accuracies made up: five evaluations each."""
    made = {
        "fedra": [0.1, 0.3, 0.5, 0.7, 0.8],
        "permuted": [0.1, 0.2, 0.3, 0.4, 0.6],
        "shallow": [0.1, 0.1, 0.2, 0.2, 0.2],
    }
    runs = []
    for name, values in made.items():
        rows = [{"round": 2 * it, "domain": d, "top1": v} for it, v in enumerate(values, 1) for d in ("a", "b")]
        folder = Folder(tmp_path / name)
        folder.write("evaluations.parquet", to_parquet(pa.Table.from_pylist(rows)))
        runs.append(replace(several_runs[name], files=replace(several_runs[name].files, folder=folder)))
    return runs


def test_parts_of_the_rounds_are_the_last_evaluation_within_them(learned: list[Run]) -> None:
    found = analyse(learned).set_index(["label", "fleet", "part"])
    heterogeneous = found.loc["FedRA", "4 2 1"]
    assert heterogeneous["round"].tolist() == [2, 4, 10]  # of 2.5, 5 and 10
    assert heterogeneous["accuracy"].tolist() == pytest.approx([0.1, 0.25, 0.7])
    assert heterogeneous.loc[1.0, "deviation"] == pytest.approx(0.02**0.5)
    assert found.loc[("FedRA", "all 1", 1.0), "n"] == 1


def test_the_default_target_is_of_the_best_group(learned: list[Run]) -> None:
    assert default_target(of_runs(learned)) == pytest.approx(0.95 * 0.7)
    assert analyse(learned)["target"].unique().tolist() == pytest.approx([0.95 * 0.7])


@pytest.mark.parametrize(
    ("target", "median", "reached"),
    [(0.3, 5.0, 2), (0.6, 9.0, 2), (0.65, None, 1), (0.9, None, 0)],
)
def test_a_run_that_never_gets_there_is_censored(
    learned: list[Run], target: float, median: float | None, reached: int
) -> None:
    found = analyse(learned, target).set_index("fleet").loc["4 2 1"].iloc[0]
    assert (found["reached"], found["censored"]) == (reached, 2 - reached)
    assert np.isnan(found["to_target"]) if median is None else found["to_target"] == median


def test_nothing_evaluated_so_early_is_empty(learned: list[Run]) -> None:
    table = pd.read_parquet(f"{learned[0].folder}/evaluations.parquet")
    learned[0].folder.write("evaluations.parquet", to_parquet(pa.Table.from_pandas(table[table["round"] >= 6])))
    found = analyse(learned[:1])
    assert found["round"].tolist() == [pd.NA, pd.NA, 10]
    assert found["accuracy"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize("target", [0, 1.5, -1])
def test_an_impossible_target_is_refused(learned: list[Run], target: float) -> None:
    with pytest.raises(SettingError, match="--target"):
        analyse(learned, target)


def test_every_fleet_has_a_panel_with_the_target(learned: list[Run]) -> None:
    figure = draw(of_runs(learned), 0.5)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["depths: 4 2 1\nn = 2", "depths: all 1\nn = 1"]
    assert all(list(axes.lines[-1].get_ydata()) == [50, 50] for axes in figure.axes)
    assert list(figure.axes[0].lines[0].get_ydata()) == pytest.approx([10, 25, 40, 55, 70])
