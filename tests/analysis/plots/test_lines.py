import pandas as pd
import pytest

from analysis.plots.lines import curve, legend, looks, panels, percent, series
from fedra_ray.report.style import png, svg


def test_many_series_look_different() -> None:
    assert len(set(looks(map(str, range(28))).values())) == 28


def test_a_name_has_the_fleet_only_where_there_are_several() -> None:
    table = pd.DataFrame({"label": ["A", "A", "B"], "fleet": "3 2", "seed": [0, 1, 0]})
    assert series(table).tolist() == ["A, n = 2", "A, n = 2", "B, n = 1"]
    table.loc[2, "fleet"] = "all 3"
    assert series(table).tolist() == ["A (3 2), n = 2", "A (3 2), n = 2", "B (all 3), n = 1"]


def test_no_interval_leaves_the_range_of_a_share() -> None:
    found = percent(pd.DataFrame({"n": [2], "mean": [0.5], "low": [-3.0], "high": [4.0]}))
    assert found.to_dict("records") == [{"n": 2, "mean": 50.0, "low": 0.0, "high": 100.0}]


def test_a_curve_is_the_mean_over_runs_within_their_range() -> None:
    rows = [("a", 1, 0.0), ("a", 1, 2.0), ("b", 1, 3.0), ("a", 2, 4.0), ("b", 2, 4.0)]
    with panels(1, 2.0) as (_, (axes,)):
        curve(axes, pd.DataFrame(rows, columns=["run", "layer", "norm"]), "layer", "norm", 0, "FedRA")
    (line,), (filled,) = axes.lines, axes.collections
    assert (line.get_label(), line.get_xdata().tolist(), line.get_ydata().tolist()) == ("FedRA", [1, 2], [2.0, 4.0])
    bounds = filled.get_paths()[0].get_extents()
    assert (bounds.x0, bounds.x1, bounds.y0, bounds.y1) == (1, 2, 1.0, 4.0)  # run a's mean at layer 1 is 1


@pytest.mark.parametrize("length", [1, 5, 9, 14, 22])
def test_a_legend_of_long_names_is_not_cut_off(length: int) -> None:
    with panels(4, 2.0) as (figure, axes):
        for index, each in enumerate(axes):
            each.plot([1, 2], label=f"{'MW' * length}{index}")
        legend(figure, axes)
    png(figure)  # lays it out
    assert len(axes) == 4
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_names_from_data_stay_text_in_a_legend() -> None:
    with panels(1, 2.0) as (figure, axes):
        axes[0].plot([1, 2], label="FedRA $x$ <b>")
        legend(figure, axes)
    assert b"FedRA $x$ &lt;b&gt;" in svg(figure)
