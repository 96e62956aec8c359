from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.plots.output import write
from analysis.questions.extreme import analyse, draw, leave, untrained
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
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


def test_the_untrained_model_is_a_reference_too(several_runs: dict[str, Run], tmp_path: Path) -> None:
    runs = list(several_runs.values())
    (begun,) = untrained(runs).to_dict("records")
    values = Replay(several_runs["shallow"]).values(0)
    scores = Replay(several_runs["shallow"]).host.evaluate(values)()
    assert (begun["label"], begun["fleet"], begun["n"]) == ("Untrained", "tiny_vit", 1)
    assert begun["accuracy"] == pytest.approx(np.mean([score.top1 / score.examples for score in scores]))
    assert begun["worst"] == min(score.top1 / score.examples for score in scores)
    leave(runs, str(tmp_path))
    table = pd.read_parquet(tmp_path / "extreme.parquet")
    assert table["label"].tolist()[-1] == "Untrained"
    assert "Untrained (tiny_vit), n = 1" in draw(table).axes[0].get_legend_handles_labels()[1]


def test_a_reference_that_is_not_there_is_told(
    several_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(run: Run) -> Replay:
        raise SettingError("dataset.root", "/gone", "no such file")

    monkeypatch.setattr("analysis.questions.extreme.Replay", refuse)
    leave([several_runs["shallow"]], str(tmp_path))
    head, model = capsys.readouterr().err.splitlines()
    assert "none of the runs trains the head alone" in head
    assert "the untrained model cannot be evaluated: dataset.root=/gone" in model
    assert len(pd.read_parquet(tmp_path / "extreme.parquet")) == 1
