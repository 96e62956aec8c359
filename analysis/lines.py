"""How groups of runs are drawn: one look for a group in every panel, means with bands, and a legend below."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.groups import GROUP
from fedra_ray.report.style import COLOURS, LINES, MARKERS, colour, drawing

WIDTH = 6.8  # inches of a figure as wide as the text of a page
_LINE, _HANDLE = 90, 8  # characters across a figure of that width, and of a legend's handle with its space


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
    axes.plot(x, found["mean"], color=look.colour, marker=look.marker, linestyle=look.line, label=name)
    axes.fill_between(x.astype(float), found["low"], found["high"], color=look.colour, alpha=0.15, linewidth=0)


def legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend of all panels, below them, in as many columns as its names leave room for."""
    entries = {}
    for each in axes:
        handles, names = each.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        columns = _LINE // (max(map(len, entries)) + _HANDLE)
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(4, max(1, columns)))


@contextmanager
def panels(count: int, height: float, most: int = 3) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A figure of so many panels, each so many inches high, at most so many beside each other, in the house style."""
    columns = min(most, count)
    rows = math.ceil(count / columns)
    with drawing(WIDTH, height * rows, rows, columns) as (figure, axes):
        for unused in axes[count:]:
            unused.remove()
        yield figure, axes[:count]
