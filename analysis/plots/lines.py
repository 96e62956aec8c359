"""How groups of runs are drawn: one look for a group in every panel, means with bands, and a legend below."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from analysis.runs.groups import GROUP
from fedra_ray.report.style import COLOURS, LINES, MARKERS, colour, drawing

WIDTH = 6.8  # inches of a figure as wide as the text of a page
_HANDLE = 46.0  # points of a legend's handle with the space around it
_TYPE = 9.0  # points, the size of a legend's type
_ROW = 0.19  # inches of a legend's row
_MARKERS = 12  # more on a curve than about this hide it


@dataclass(frozen=True)
class Look:
    """Of a series in a figure."""

    colour: str
    marker: str
    line: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for every name, told apart by colour, marker and, beyond seven, by the line."""
    return {
        name: Look(colour(index), MARKERS[index % len(MARKERS)], LINES[index // len(COLOURS) % len(LINES)])
        for index, name in enumerate(dict.fromkeys(names))
    }


def series(table: pd.DataFrame) -> "pd.Series[str]":
    """The name of each row's group of runs: the label, the fleet where there are several, and the number of seeds."""
    seeds = table.groupby(GROUP)["seed"].transform("nunique").astype(str)
    fleet = "" if table["fleet"].nunique() < 2 else " (" + table["fleet"] + ")"
    return table["label"] + fleet + ", n = " + seeds


def percent(found: pd.DataFrame) -> pd.DataFrame:
    """A table of `over_seeds` of fractions in percent, intervals cut off where no fraction can be."""
    parts = found[["mean", "low", "high"]]
    return found.assign(**100 * parts.clip(0, 1))


def band(axes: Axes, x: "pd.Series[float]", found: pd.DataFrame, look: Look, name: str) -> None:
    """Draw the mean of a group as a line, and its confidence interval, where there is one, as a band.

    Args:
        axes: Where.
        x: Where on the horizontal axis each row of `found` lies.
        found: mean, low and high.
        look: Of the group.
        name: Of the group, for the legend.
    """
    style = {"color": look.colour, "marker": look.marker, "linestyle": look.line}
    axes.plot(x, found["mean"], markevery=math.ceil(len(x) / _MARKERS), label=name, **style)
    axes.fill_between(x.astype(float), found["low"], found["high"], color=look.colour, alpha=0.15, linewidth=0)


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend of all panels, below them, in as many columns as its names leave room for."""
    entries = {}
    for each in axes:
        handles, names = each.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=_columns(entries))


def legend_height(names: Iterable[str]) -> float:
    """Inches that a legend of these names takes."""
    different = set(names)
    return _ROW * math.ceil(len(different) / _columns(different))


@contextmanager
def panels(
    count: int, height: float, most: int = 3, names: Iterable[str] = ("",)
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure in the house style, with room for a legend.

    Args:
        count: Its panels.
        height: Of each, in inches.
        most: Beside each other.
        names: Of the series.
    """
    columns = min(most, count)
    rows = math.ceil(count / columns)
    with drawing(WIDTH, height * rows + legend_height(names), rows, columns) as (figure, axes):
        for unused in axes[count:]:
            unused.remove()
        yield figure, axes[:count]


def _columns(names: Iterable[str]) -> int:
    font = FontProperties(size=_TYPE)
    widths = [text_to_path.get_text_width_height_descent(name, font, False)[0] for name in names]
    return min(4, max(1, int(72 * WIDTH / (max(widths) + _HANDLE))))
