"""Lines over rounds or layers: a line a method, the mean over its runs, within the range of them."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedra_ray.report.style import INK, LINES, MARKERS, colour


def by_method(table: pd.DataFrame) -> Iterator[tuple[int, str, pd.DataFrame]]:
    """Number, name and rows of every method, in the order in which the methods appear."""
    for index, method in enumerate(table["method"].unique()):
        yield index, method, table[table["method"] == method]


def last_rounds(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run's last round."""
    return table[table["round"] == table.groupby("run")["round"].transform("max")]


def curve(axes: Axes, rows: pd.DataFrame, x: str, y: str, index: int, label: str | None = None) -> None:
    """Draw y over x: the mean over runs, each first averaged over its rows of equal x, and the runs' range as a band.

    Args:
        axes: Where to draw.
        rows: With a column `run` besides x and y.
        x: Name of the column that goes to the right.
        y: Name of the column that goes up.
        index: Number of the series, which gives its colour, marker and line.
        label: Its name in the legend.
    """
    runs = rows.groupby(["run", x])[y].mean().groupby(x)
    mean, low, high = runs.mean(), runs.min(), runs.max()
    style = {"color": colour(index), "marker": MARKERS[index % len(MARKERS)], "linestyle": LINES[index % len(LINES)]}
    axes.plot(mean.index, mean, label=label, **style)
    axes.fill_between(mean.index, low, high, color=colour(index), alpha=0.15, linewidth=0)


def reference(axes: Axes, rows: pd.DataFrame, x: str, y: str, label: str) -> None:
    """Draw the mean of y over x as a thin dotted line of ink, behind what it is to be compared with."""
    mean = rows.groupby(x)[y].mean()
    axes.plot(mean.index, mean, color=INK, linestyle=":", linewidth=1.0, label=label, zorder=1)


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend for the whole figure, below it, of what these axes show."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
