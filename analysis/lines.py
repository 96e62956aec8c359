"""How groups of runs are drawn: one look for a group in every panel, means with bands, and a legend below."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedra_ray.report.style import COLOURS, LINES, MARKERS, colour

WIDTH = 6.8  # inches of a figure as wide as the text of a page


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
    """The name of each row's group of runs: the label, and the fleet where there are several."""
    if table["fleet"].nunique() < 2:
        return table["label"]
    return table["label"] + " (" + table["fleet"] + ")"


def band(axes: Axes, x: "pd.Series[float]", found: pd.DataFrame, look: Look, name: str) -> None:
    """Draw the mean of a group as a line, and its confidence interval, where there is one, as a band.

    Args:
        axes: Where.
        x: Where on the horizontal axis each row of `found` lies.
        found: mean, low and high of accuracies, fractions.
        look: Of the group.
        name: Of the group, for the legend.
    """
    axes.plot(x, 100 * found["mean"], color=look.colour, marker=look.marker, linestyle=look.line, label=name)
    low, high = (100 * found[side].clip(0, 1) for side in ("low", "high"))
    axes.fill_between(x.astype(float), low, high, color=look.colour, alpha=0.15, linewidth=0)


def legend(figure: Figure, axes: Iterable[Axes], columns: int = 3) -> None:
    """One legend of all panels, below them."""
    entries = {}
    for each in axes:
        handles, names = each.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def grid(panels: int, most: int = 3) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    columns = min(most, panels)
    return int(np.ceil(panels / columns)), columns
