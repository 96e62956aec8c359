from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.plots.output import write
from analysis.questions.extreme import analyse, draw
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError


def test_fleets_of_one_depth_stand_beside_their_references(several_runs: dict[str, Run]) -> None:
    table = analyse(list(several_runs.values())).set_index(["label", "fleet"])
    shallow = table.loc["FedRA", "all 1"]
    summary = several_runs["shallow"].summary
    assert (shallow["depth"], shallow["n"]) == (1, 1)
    assert shallow["accuracy"] == summary["mean_accuracy"]
    assert shallow["worst"] == min(summary["accuracy"].values())
    assert shallow["expected"] == pytest.approx(27 / 16)
    assert table.index[table["depth"].notna()].tolist() == [("FedRA", "all 1")]
    both = [several_runs[name].summary["mean_accuracy"] for name in ("fedra", "permuted")]
    assert table.loc[("FedRA", "4 2 1"), "accuracy"] == pytest.approx(np.mean(both))


def test_runs_without_such_a_fleet_are_refused(several_runs: dict[str, Run]) -> None:
    with pytest.raises(SettingError, match="clients of one depth"):
        analyse([several_runs["fedra"], several_runs["headonly"]])


def test_references_are_the_same_method_elsewhere_and_the_head_alone(
    several_runs: dict[str, Run], tmp_path: Path
) -> None:
    table = analyse(list(several_runs.values()))
    figure = draw(table)
    left = figure.axes[0]
    names = left.get_legend_handles_labels()[1]
    assert {"FedRA (4 2 1), n = 2", "Head only (4 2 1), n = 1"} < set(names)
    assert not any("DepthFL" in name or "prefix" in name for name in names)
    write(str(tmp_path), "extreme", table, figure)
    assert pd.read_parquet(tmp_path / "extreme.parquet")["depth"].isna().sum() == 4
