"""How many layers a round leaves without a holder, and how many the paper's uniform draw would leave.

Used by the analyses of balance and of extreme fleets.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analysis.plots.lines import WIDTH, legend
from analysis.runs.groups import GROUP, collect
from analysis.runs.intervals import CONFIDENCE
from analysis.runs.reading import Run
from fedra_ray.federation.allocation import expected_uncovered
from fedra_ray.report.style import INK, drawing, look

_expected = cache(expected_uncovered)


def rounds(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run and round.

    Returns:
        The columns of `KEY`, round; uncovered: layers of the evaluated model that no averaged update held; expected and
        probability: the mean number of layers that uniform draws of the same clients' depths leave without a holder,
        and the probability of at least one (`fedra_ray.federation.allocation.expected_uncovered`).
    """
    return collect(runs, _rounds)


def analyse(runs: Sequence[Run]) -> pd.DataFrame:
    """Observed and expected coverage of each group of runs, all of whose rounds are taken together.

    Returns:
        label, fleet, rounds; uncovered, the mean number per round, with low and high, its normal interval at 95 %
        (central limit theorem); expected, the same of uniform draws; any_uncovered, the share of rounds with at least
        one, with any_low and any_high, its exact binomial interval at 95 % (Clopper and Pearson); any_expected.
    """
    return pd.DataFrame([_summary(group, rows) for group, rows in rounds(runs).groupby(GROUP, sort=False)])


def draw(table: pd.DataFrame) -> Figure:
    """Observed coverage with its intervals beside that of uniform draws, from the table of `analyse`."""
    names = table["label"] + "\n" + table["fleet"] + ", " + table["rounds"].astype(str) + " rounds"
    with drawing(WIDTH, 1.6 + 0.5 * len(table), 1, 2) as (figure, (left, right)):
        _dots(left, table, ("uncovered", "low", "high", "expected"))
        _dots(right, table, ("any_uncovered", "any_low", "any_high", "any_expected"))
        left.set(xlabel="layers without a holder per round")
        right.set(xlabel="share of rounds with such a layer", xlim=(-0.03, 1.03))
        left.set_yticks(range(len(table)), names)
        right.set_yticks(range(len(table)), [""] * len(table))
        legend(figure, [left])
    return figure


def _rounds(run: Run) -> pd.DataFrame:
    table = run.table("rounds")
    layers = run.summary["evaluated_layers"]
    depths = run.table("clients").groupby("round")["depth"].agg(lambda column: tuple(sorted(column)))
    theory = [_expected(depths.get(number, ()), run.num_layers) for number in table["round"]]
    return pd.DataFrame(
        {
            "round": table["round"],
            "uncovered": [int(np.count_nonzero(holders[layers] == 0)) for holders in table["layer_holders"]],
            "expected": [expected for expected, _ in theory],
            "probability": [probability for _, probability in theory],
        }
    )


def _summary(group: tuple[str, str], rows: pd.DataFrame) -> dict[str, object]:
    """The row of one group of runs in the table of `analyse`."""
    uncovered = rows["uncovered"]
    count = len(rows)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * uncovered.std() / np.sqrt(count)
    with_any = int((uncovered > 0).sum())
    interval = stats.binomtest(with_any, count).proportion_ci(CONFIDENCE)
    return {
        **dict(zip(GROUP, group, strict=True)),
        "rounds": count,
        "uncovered": uncovered.mean(),
        "low": max(0.0, uncovered.mean() - half),
        "high": uncovered.mean() + half,
        "expected": rows["expected"].mean(),
        "any_uncovered": with_any / count,
        "any_low": interval.low,
        "any_high": interval.high,
        "any_expected": rows["probability"].mean(),
    }


def _dots(axes: Axes, table: pd.DataFrame, columns: tuple[str, str, str, str]) -> None:
    observed, low, high, expected = (table[name] for name in columns)
    places = range(len(table))
    whiskers = [observed - low, high - observed]
    axes.errorbar(observed, places, xerr=whiskers, fmt="o", capsize=3, color=look(0).colour, label="observed, 95 %")
    axes.plot(expected, places, "|", color=INK, markersize=14, markeredgewidth=2, label="expected of uniform draws")
    axes.set(ylim=(len(table) - 0.5, -0.5))
    axes.grid(axis="x", linewidth=0.4, alpha=0.5)
