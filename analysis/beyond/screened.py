"""The figure of the screening: a panel for each table that was made, and two for stand-ins."""

from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedra_ray.report.style import drawing, look


def draw(tables: Mapping[str, pd.DataFrame]) -> Figure | None:
    """What the tables of `surrogates`, `cosines` and `training` say, means over their seeds; None without any of them.

    Args:
        tables: By part, those of all seeds below each other.
    """
    panels = [(part, axes) for part in ("surrogates", "cosines", "training") if part in tables for axes in PANELS[part]]
    if not panels:
        return None
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    with drawing(5 * columns, 3.2 * rows, rows, columns) as (figure, all_axes):
        for (part, panel), axes in zip(panels, all_axes[: len(panels)], strict=True):
            panel(axes, tables[part])
        for axes in all_axes[len(panels) :]:
            axes.remove()
    return figure


def _explained(axes: Axes, table: pd.DataFrame) -> None:
    _lines(axes, table[table["measure"] == "R2"], "way", "of", "value")
    axes.set_title("what a linear map explains of a block's branch")
    axes.set_xlabel("block")
    axes.set_ylabel("R2")
    axes.set_ylim(0, 1)


def _kept(axes: Axes, table: pd.DataFrame) -> None:
    rows = table[table["measure"] == "accuracy"]
    rows = rows.assign(value=100 * rows["value"])
    _lines(axes, rows, "way", "of", "value")
    axes.set_title("frozen model, its other blocks skipped or replaced")
    axes.set_xlabel("blocks kept")
    axes.set_ylabel("test accuracy, %")
    axes.set_xticks(sorted(rows["of"].unique()))
    axes.set_ylim(0)


def _cosines(axes: Axes, table: pd.DataFrame) -> None:
    _lines(axes, table, "stand-in", "block", "cosine")
    axes.set_title("gradient of B through stand-ins for later blocks")
    axes.set_xlabel("block")
    axes.set_ylabel("cosine to the true one")


def _trained(axes: Axes, table: pd.DataFrame) -> None:
    means = table.groupby("variant")[["forward passes", "validation"]].mean().sort_values("forward passes")
    names = [f"{name} ({cost:.3g})" for name, cost in means["forward passes"].items()]
    axes.plot(100 * means["validation"], names, "o", color=look(0).colour)
    axes.set_title("central training (forward passes an image)")
    axes.set_xlabel("validation accuracy, %")
    axes.grid(axis="y", alpha=0.3)


def _lines(axes: Axes, table: pd.DataFrame, series: str, across: str, value: str) -> None:
    """A line for each value of a column."""
    for index, (name, rows) in enumerate(_means(table, series, across, value)):
        own = look(index)
        axes.plot(rows.index, rows, own.marker + own.line, color=own.colour, label=name)
    axes.legend()


def _means(table: pd.DataFrame, series: str, across: str, value: str) -> Iterable[tuple[str, pd.Series]]:
    for name, rows in table.groupby(series, sort=False):
        yield str(name), rows.groupby(across)[value].mean()


#: The panels of each part.
PANELS = {"surrogates": (_explained, _kept), "cosines": (_cosines,), "training": (_trained,)}
