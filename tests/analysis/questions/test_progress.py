from pathlib import Path

import pandas as pd
import pytest

from analysis.plots.output import write
from analysis.questions.progress import analyse, draw
from analysis.runs.reading import Run, read_run
from fedra_ray.config.devices import profiles


@pytest.fixture(scope="module")
def table(several_runs: dict[str, Run]) -> pd.DataFrame:
    return analyse(list(several_runs.values()))


def test_every_evaluated_round_of_every_run_has_a_row(several_runs: dict[str, Run], table: pd.DataFrame) -> None:
    assert table.columns.tolist() == ["run", "label", "fleet", "seed", "round", "accuracy", "bytes", "flops", "hours"]
    assert table["round"].tolist() == [1, 2, 3] * len(several_runs)
    last = table[table["round"] == 3]
    summaries = [run.summary for run in several_runs.values()]
    assert last["accuracy"].tolist() == pytest.approx([summary["mean_accuracy"] for summary in summaries])
    assert last["bytes"].tolist() == [summary["bytes_up"] + summary["bytes_down"] for summary in summaries]
    assert last["hours"].tolist() == pytest.approx([summary["simulated_hours"] for summary in summaries])


def test_flops_are_those_that_the_simulated_devices_took_their_time_for(
    several_runs: dict[str, Run], table: pd.DataFrame
) -> None:
    last = table[table["round"] == 3].set_index(pd.Index(several_runs))
    for name, run in several_runs.items():
        flops = 0.0
        for row in run.table("clients").itertuples():
            device = profiles(run.config.fleet)[("slow", "fast")[row.client % 2]]
            travel = 8e-6 * (row.bytes_down / device.download_mbps + row.bytes_up / device.upload_mbps)
            flops += (row.simulated_s - travel) * device.gflops * 1e9
        assert last.loc[name, "flops"] == pytest.approx(flops)


def test_hours_are_empty_without_devices(fedra_run: str) -> None:
    table = analyse([read_run(fedra_run)])
    assert table["hours"].isna().all()
    assert any(text.get_text() == "no simulated devices" for text in draw(table).axes[3].texts)


def test_the_figure_has_a_line_per_group_in_every_panel(table: pd.DataFrame, tmp_path: Path) -> None:
    figure = draw(table)
    assert [len(axes.lines) for axes in figure.axes] == [5, 5, 5, 5]
    write(str(tmp_path), "progress", table, figure)
