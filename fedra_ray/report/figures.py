"""The figures of a page, as SVG to put into it: curves over rounds, and who held which layer."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fedra_ray.config.units import mean_over_domains
from fedra_ray.report.comparison import Group
from fedra_ray.report.facts import Facts, Holdings
from fedra_ray.report.names import short
from fedra_ray.report.style import COLOURS, INK, SEQUENTIAL, Look, drawing, look, svg, themed

Values = NDArray[np.float64]
Extent = tuple[float, float, float, float]  # left, right, bottom, top

MOST_POINTS = 200  # of a curve
MOST_SPANS = 80  # columns of a picture over rounds
MOST_CURVES = 12  # of several runs; a legend of more cannot be read
MOST_ROWS = 40  # of a picture with a name for every row
_LEGEND = 310  # points
_WIDTH, _HEIGHT = 4.4, 2.9  # inches: narrow, so that type can be read on a phone; two stand side by side elsewhere
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_IDENTIFIER = re.compile(r' id="([^"]+)"')


@dataclass(frozen=True)
class Curve:
    """A line over rounds.

    Attributes:
        label: Its name in the legend; empty for none.
        x: Numbers of rounds.
        y: Values.
        look: How it is drawn; markers only if its points are few.
        width: Width of the line, in points.
    """

    label: str
    x: Values
    y: Values
    look: Look
    width: float = 1.6


def spans(rounds: int, most: int) -> int:
    """How many rounds are drawn as one, so that at most `most` columns or points are left."""
    return max(1, math.ceil(rounds / most))


def binned(values: Values, span: int) -> Values:
    """Means over spans of `span` rows; numbers that are not finite do not count, and the last span may be shorter."""
    starts = np.arange(0, len(values), span)
    known = np.isfinite(values)
    counts = np.add.reduceat(known.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts)
    means: Values = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means


def accuracy(facts: Facts) -> str:
    """Accuracy over rounds: a line for every domain, and their mean."""
    curves = []
    for index, domain in enumerate(facts.accuracy):
        rows = [row for row in facts.scores if row["domain"] == domain]
        x, y = (np.array([row[name] for row in rows], dtype=float) for name in ("round", "top1"))
        curves.append(Curve(domain, x, y, look(index, COLOURS)))
    curves.append(Curve("mean", *mean_accuracy(facts), Look(INK), width=2.4))
    return _curves(curves, "top-1 accuracy", "accuracy", percent=True)


def loss(facts: Facts) -> str:
    """Training loss over rounds."""
    curve = Curve("", facts.numbers.astype(float), facts.losses, look(0, COLOURS))
    return _curves([curve], "training loss", "loss")


def accuracies(groups: Sequence[Group]) -> str:
    """Mean accuracy over rounds, a line for every run; those that differ in their seed look alike."""
    return _curves(_of_groups(groups, mean_accuracy), "mean top-1 accuracy", "accuracies", percent=True)


def losses(groups: Sequence[Group]) -> str:
    """Training loss over rounds, a line for every run; those that differ in their seed look alike."""
    curves = _of_groups(groups, lambda run: (run.numbers.astype(float), run.losses))
    return _curves(curves, "training loss", "losses")


def holders(facts: Facts) -> str:
    """Layers x rounds, coloured by the number of clients that held the layer; hatched where there is none."""
    values = binned(facts.holders.astype(np.float64), spans(len(facts.numbers), MOST_SPANS)).T
    first, last = float(facts.numbers[0]), float(facts.numbers[-1])
    with drawing(_WIDTH, _HEIGHT) as (figure, (axes,)):
        extent = (first - 0.5, last + 0.5, -0.5, len(values) - 0.5)
        _heat(axes, values, max(1.0, values.max()), "clients that held it", extent)
        axes.set(xlabel="round", ylabel="layer")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        return _page_ready(svg(figure, "holders"))


def shares(holdings: Holdings) -> str:
    """Clients or depths x layers, coloured by the share of the rounds in which the layer was held."""
    height = max(_HEIGHT, 1.0 + 0.17 * len(holdings.names))
    return _rows(holdings.names, holdings.share, 1.0, "share of its rounds", "shares", height)


def coverage(groups: Sequence[Group]) -> str:
    """Runs x layers, coloured by the mean number of clients per round that held the layer."""
    depth = max(run.holders.shape[1] for group in groups for run in group.runs)
    values = np.full((len(groups), depth), np.nan)
    for row, group in zip(values, groups, strict=True):
        means = np.stack([run.holders.mean(axis=0) for run in group.runs]).mean(axis=0)
        row[: len(means)] = means
    return _rows(
        [group.label for group in groups],
        values,
        max(1.0, np.nanmax(values)),
        "clients per round",
        "coverage",
        1.2 + 0.24 * len(groups),
    )


def _rows(names: Sequence[str], values: Values, highest: float, label: str, salt: str, height: float) -> str:
    """Named rows x layers."""
    with drawing(_WIDTH, height) as (figure, (axes,)):
        _heat(axes, values, highest, label)
        axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=9 if len(names) <= 12 else 7)
        axes.set(xlabel="layer")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        return _page_ready(svg(figure, salt))


def _heat(axes: Axes, values: Values, highest: float, label: str, extent: Extent | None = None) -> None:
    """Draw a matrix from the top or, in the coordinates of an extent, from the bottom; zeros are hatched."""
    shown = np.ma.masked_where(~(values > 0), values)
    if np.ma.is_masked(shown):
        axes.patch.set(hatch="/////", edgecolor=INK, linewidth=0)
    colours = colormaps[SEQUENTIAL].with_extremes(bad=(0, 0, 0, 0))
    image = axes.imshow(
        shown,
        aspect="auto",
        cmap=colours,
        interpolation="none",
        vmin=0,
        vmax=highest,
        origin="lower" if extent else "upper",
        extent=extent,
    )
    bar = axes.figure.colorbar(
        image, ax=axes, label=label, pad=0.02, aspect=8 * axes.figure.bbox.height / axes.figure.dpi
    )
    bar.outline.set_visible(False)
    if highest > 1:
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _curves(curves: Iterable[Curve], label: str, salt: str, percent: bool = False) -> str:
    drawn = list(curves)
    names = [short(curve.label) for curve in drawn if curve.label]
    columns = max(1, int(_LEGEND / (32 + 5.5 * max(map(len, names), default=0))))
    height = _HEIGHT + 0.17 * (math.ceil(len(names) / columns) - 2)  # two rows of names fit into the usual height
    with drawing(_WIDTH, max(_HEIGHT, height)) as (figure, (axes,)):
        for curve in drawn:
            span = spans(len(curve.x), MOST_POINTS)
            x, y = (binned(values, span) for values in (curve.x, curve.y)) if span > 1 else (curve.x, curve.y)
            colour, line = curve.look.colour, curve.look.line
            marker = curve.look.marker if len(x) <= 25 else ""
            name = short(curve.label) if curve.label else "_"
            axes.plot(x, y, line, color=colour, marker=marker, linewidth=curve.width, label=name)
        axes.set(xlabel="round", ylabel=label)
        axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
        if names:
            figure.legend(loc="outside upper left", ncols=columns, fontsize=8.5, handlelength=2.2, columnspacing=1.2)
        return _page_ready(svg(figure, salt))


def _of_groups(groups: Sequence[Group], points: Callable[[Facts], tuple[Values, Values]]) -> Iterable[Curve]:
    for index, group in enumerate(groups):
        for number, run in enumerate(group.runs):
            yield Curve("" if number else group.label, *points(run), look(index, COLOURS))


def mean_accuracy(facts: Facts) -> tuple[Values, Values]:
    """Evaluated rounds (rounds,), and the mean accuracy over domains after each (rounds,), from 0 to 1."""
    by_round: dict[int, dict[str, float]] = defaultdict(dict)
    for row in facts.scores:
        by_round[row["round"]][row["domain"]] = row["top1"]
    rounds = sorted(by_round)
    means = [mean_over_domains(by_round[number].values()) for number in rounds]
    return np.array(rounds, dtype=float), np.array(means, dtype=float)


def _page_ready(drawn: bytes) -> str:
    """Inline SVG without the identifiers that nothing in it refers to, since those of one page must differ."""
    text = _METADATA.sub("", themed(drawn))
    referred = set(re.findall(r"#([\w-]+)", text))
    return _IDENTIFIER.sub(lambda match: match[0] if match[1] in referred else "", text)
