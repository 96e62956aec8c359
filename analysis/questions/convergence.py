"""Rounds to a target accuracy, and accuracy after a part of the rounds, by allocation and heterogeneity of the fleet.

    python -m analysis.questions.convergence RUN_DIR... [--target 0.7] [--out figures]

Writes `convergence_curves` (one row per run and evaluated round), and `convergence`: rows per group of runs and a
figure with a panel per fleet, means over seeds with bands of 95 % confidence (Student's t). The target, an accuracy
between 0 and 1, is by default 95 % of the best group's final mean, one target for all fleets. A run gets there in the
first evaluated round that reaches it, so `evaluation.every` is the precision of that number; a run that never does is
counted as censored.
"""

import argparse
import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis import command
from analysis.plots import output
from analysis.plots.lines import band, legend, looks, panels, percent
from analysis.runs.accuracy import of_runs
from analysis.runs.groups import GROUP, KEY, over_seeds
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.report.style import INK

PARTS = (0.25, 0.5, 1.0)  # of a run's rounds
OF_BEST = 0.95


def default_target(table: pd.DataFrame) -> float:
    """95 % of the best group's mean final accuracy, from the table of `of_runs`."""
    return OF_BEST * over_seeds(_final(table), GROUP, "accuracy")["mean"].max()


def analyse(runs: Sequence[Run], target: float | None = None) -> pd.DataFrame:
    """One row per group of runs and part of the rounds.

    Args:
        runs: The runs.
        target: Accuracy to reach, a fraction; None for `default_target`.

    Returns:
        label, fleet; part (25 %, 50 % or all of the rounds) and round, the last one evaluated within it; n, accuracy,
        deviation, low, high: over seeds (`over_seeds`), empty if nothing was evaluated so early; target; to_target: the
        median over all n runs of the rounds to it, a censored run later than any other, empty where the median run is
        censored; reached and censored: how many of the runs got there, and did not.

    Raises:
        SettingError: if the target is not between 0 and 1.
    """
    if target is not None and not 0 < target <= 1:
        raise SettingError("--target", target, "must be greater than 0 and at most 1")
    table = of_runs(runs)
    target = default_target(table) if target is None else target
    rounds = _final(table).groupby(GROUP, sort=False)["round"].max()
    parts = []
    for part in PARTS:
        within = table[table["round"] <= part * table.set_index(GROUP).index.map(rounds)]
        last = _final(within)
        means = over_seeds(last, GROUP, "accuracy").rename(columns={"mean": "accuracy"})
        means.insert(2, "round", last.groupby(GROUP, sort=False)["round"].max().to_numpy())
        means = rounds.index.to_frame(index=False).merge(means, how="left", on=GROUP)
        means.insert(2, "part", part)
        parts.append(means)
    result = pd.concat(parts, ignore_index=True).astype({"round": "Int64", "n": "Int64"})
    return result.merge(_to_target(table, target), on=GROUP).sort_values(GROUP, kind="stable", ignore_index=True)


def draw(table: pd.DataFrame, target: float) -> Figure:
    """Accuracy against rounds, a panel per fleet, from the table of `of_runs`; the target is a dotted line."""
    styles = looks(table["label"])
    fleets = table.groupby("fleet", sort=False)
    with panels(len(fleets), 2.4, names=[*styles, "target"]) as (figure, axes):
        for place, (fleet, rows) in zip(axes, fleets, strict=True):
            for label, group in rows.groupby("label", sort=False):
                means = over_seeds(group, ["round"], "accuracy").sort_values("round", ignore_index=True)
                band(place, means["round"], percent(means), styles[label], label)
            place.axhline(100 * target, color=INK, linestyle=":", linewidth=1, label="target")
            seeds = sorted(set(rows.groupby("label")["seed"].nunique()))
            place.set(title=f"depths: {fleet}\nn = {', '.join(map(str, seeds))}", xlabel="round")
            place.set_ylabel("accuracy in %")
            place.locator_params(axis="x", integer=True)
            place.sharey(axes[0])
        legend(figure, axes)
    return figure


def _final(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of every run."""
    return table.loc[table.groupby(KEY, sort=False)["round"].idxmax()]


def _to_target(table: pd.DataFrame, target: float) -> pd.DataFrame:
    there = table[table["accuracy"] >= target].groupby(KEY)["round"].min()
    first = table[KEY].drop_duplicates().merge(there.rename("first").reset_index(), how="left", on=KEY)
    grouped = first.assign(first=first["first"].fillna(float("inf"))).groupby(GROUP, sort=False)["first"]
    result = grouped.agg(to_target="median", reached=lambda values: int((values < float("inf")).sum()), runs="size")
    result["to_target"] = result["to_target"].replace(float("inf"), float("nan"))
    result["censored"] = result.pop("runs") - result["reached"]
    return result.assign(target=target).reset_index()


def leave(runs: Sequence[Run], out: str, target: float | None = None) -> None:
    """Write the tables and the figure of these runs into a folder or URI."""
    table = analyse(runs, target)
    curves = of_runs(runs)
    output.write(out, "convergence_curves", curves)
    output.write(out, "convergence", table, draw(curves, table["target"].iloc[0]))


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", type=float, metavar="ACCURACY", help="between 0 and 1")


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("convergence", __doc__, leave, arguments, _target)


if __name__ == "__main__":
    sys.exit(main())
