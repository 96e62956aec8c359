"""How the analyses draw: a series looks the same in every panel, curves have bands, and one legend is below."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.runs.groups import GROUP
from fedra_ray.report.style import INK, Look, drawing, look

WIDTH = 6.8  # inches of a figure as wide as the text of a page
_HANDLE = 46.0  # points of a legend's handle with the space around it
_TYPE = 9.0  # points, the size of a legend's type
_ROW = 0.19  # inches of a legend's row
_MARKERS = 12  # more on a curve than about this hide it


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for every name, in the order in which the names appear."""
    return {name: look(index) for index, name in enumerate(dict.fromkeys(names))}


def series(table: pd.DataFrame) -> "pd.Series[str]":
    """The name of each row's group of runs: the label, the fleet where there are several, and the number of seeds."""
    seeds = table.groupby(GROUP)["seed"].transform("nunique").astype(str)
    fleet = "" if table["fleet"].nunique() < 2 else " (" + table["fleet"] + ")"
    return table["label"] + fleet + ", n = " + seeds


def by_label(table: pd.DataFrame) -> Iterator[tuple[int, str, pd.DataFrame]]:
    """Number (from 0), label and rows of the runs of every label, in the order in which the labels appear."""
    for index, label in enumerate(table["label"].unique()):
        yield index, label, table[table["label"] == label]


def last_rounds(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run's last round."""
    return table[table["round"] == table.groupby("run")["round"].transform("max")]


def percent(means: pd.DataFrame) -> pd.DataFrame:
    """A table of `over_seeds` of fractions in percent; intervals end at 0 and 100."""
    parts = means[["mean", "low", "high"]]
    return means.assign(**100 * parts.clip(0, 1))


def band(axes: Axes, x: "pd.Series[float]", means: pd.DataFrame, look: Look, name: str | None = None) -> None:
    """Draw a curve with a band around it, where the band is known.

    Args:
        axes: Where to draw.
        x: Place of each row of `means` on the horizontal axis.
        means: Columns mean, low and high.
        look: The look of the series.
        name: The name of the series in the legend; None leaves it out.
    """
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": look.line}
    axes.plot(x, means["mean"], markevery=max(1, math.ceil(len(x) / _MARKERS)), label=name, **style)
    axes.fill_between(x.astype(float), means["low"], means["high"], color=look.colour, alpha=0.15, linewidth=0)


def curve(axes: Axes, rows: pd.DataFrame, x: str, y: str, index: int, label: str | None = None) -> None:
    """Draw y over x: the mean over runs, each first averaged over its rows of equal x, and the runs' range as a band.

    Args:
        axes: Where to draw.
        rows: With a column `run` besides x and y.
        x: Name of the column on the horizontal axis.
        y: Name of the column on the vertical axis.
        index: Number of the series, which gives its look.
        label: The name of the series in the legend; None leaves it out.
    """
    runs = rows.groupby(["run", x])[y].mean().groupby(x)
    means = runs.agg(["mean", "min", "max"]).rename(columns={"min": "low", "max": "high"}).reset_index()
    band(axes, means[x], means, look(index), label)


def reference(axes: Axes, rows: pd.DataFrame, x: str, y: str, label: str) -> None:
    """Draw the mean of y over x as a thin dotted line of ink, behind what it is to be compared with."""
    mean = rows.groupby(x)[y].mean()
    axes.plot(mean.index, mean, color=INK, linestyle=":", linewidth=1.0, label=label, zorder=1)


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend of all panels, below them, in as many columns as its names leave room for."""
    entries: dict[str, Any] = {}
    for panel in axes:
        handles, names = panel.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        columns = _columns(entries, figure.get_figwidth())
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def legend_height(names: Iterable[str]) -> float:
    """Inches that a legend of these names takes."""
    different = set(names)
    return _ROW * math.ceil(len(different) / _columns(different))


@contextmanager
def panels(
    count: int, height: float, most: int = 3, names: Iterable[str] = ("",)
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure of equal panels, with room for a legend below.

    Args:
        count: Number of its panels.
        height: Height of each, in inches.
        most: The most panels side by side.
        names: Names of the series in the legend.
    """
    columns = min(most, count)
    rows = math.ceil(count / columns)
    with drawing(WIDTH, height * rows + legend_height(names), rows, columns) as (figure, axes):
        for unused in axes[count:]:
            unused.remove()
        yield figure, axes[:count]


def _columns(names: Iterable[str], width: float = WIDTH) -> int:
    font = FontProperties(size=_TYPE)
    widths = [text_to_path.get_text_width_height_descent(name, font, False)[0] for name in names]
    return min(4, max(1, int(72 * width / (max(widths) + _HANDLE))))
