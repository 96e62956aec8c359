"""Fleets in which every client has the same small depth: coverage and accuracy of the global model by that depth.

    python -m analysis.questions.extreme RUN_DIR... [--out figures]

Writes `extreme`: one row per group of runs and a figure against the depth. Its reference lines are runs of other fleets
whose method also ran on such a fleet, runs that train the head alone, whatever their fleet, and the model that the runs
of one depth began with, evaluated here: the data and the backbone must be where they were.
"""

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import command
from analysis.plots import output
from analysis.plots.lines import legend, looks, panels
from analysis.questions import coverage, fairness
from analysis.runs.groups import GROUP, KEY, collect, over_seeds
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from fedra_ray.config.errors import SettingError
from fedra_ray.config.units import mean_over_domains
from fedra_ray.federation.shards import accuracies
from fedra_ray.report.style import INK, LINES, Look
from fedra_ray.run_dir.claim import SETTING

WORST, EXPECTED = "worst domain", "expected of uniform draws"
UNTRAINED = "Untrained"
_WITHOUT_DEPTH = "Head only"


def depth(run: Run) -> int | None:
    """The depth of every client, None if they differ."""
    fleet = run.config.fleet
    return fleet.depths[0] if len(set(fleet.depths)) == 1 else None


def analyse(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per group of runs.

    Returns:
        label, fleet; depth: of every client, empty for a reference; n, accuracy, deviation, low, high: the final mean
        over domains, over seeds (`over_seeds`); worst and worst_deviation: of each run's worst domain; and rounds,
        uncovered to any_expected: the coverage of `coverage.analyse`, its interval as uncovered_low and uncovered_high.

    Raises:
        SettingError: if no run has a fleet of one depth.
    """
    known = collect(runs, lambda run: pd.DataFrame({"depth": [depth(run)], "accuracy": [run.summary["mean_accuracy"]]}))
    known.loc[known["label"].str.startswith(_WITHOUT_DEPTH), "depth"] = None
    if known["depth"].isna().all():
        allowed = "none of them has clients of one depth, as fleet=extreme3 has"
        raise SettingError(SETTING, [str(run.folder) for run in runs], allowed)
    result = over_seeds(known, [*GROUP, "depth"], "accuracy").rename(columns={"mean": "accuracy"})
    result = result.astype({"depth": "Int64"})
    worst = fairness.summarise(fairness.analyse(runs))[[*GROUP, "worst", "worst_deviation"]]
    covered = coverage.analyse(runs).rename(columns={"low": "uncovered_low", "high": "uncovered_high"})
    return result.merge(worst, on=GROUP).merge(covered, on=GROUP)


def untrained(runs: Sequence[Run]) -> pd.DataFrame:
    """The models that runs of one depth began with, one per backbone, data set and seed: as rows of `analyse`.

    Returns:
        label, fleet (name of the backbone); n, accuracy, deviation, low, high, worst and worst_deviation as there.

    Raises:
        SettingError: if the data or the backbone of a run are not where they were.
    """
    first: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        if depth(run) is not None:
            first.setdefault((run.config.backbone.name, run.config.dataset.name, run.config.seed), run)
    rows = []
    for (backbone, dataset, seed), run in first.items():
        replay = Replay(run)
        accuracy = accuracies(replay.host.evaluate(replay.values(0))())
        several = f", {dataset}" if len({name for _, name, _ in first}) > 1 else ""
        measured = [mean_over_domains(accuracy.values()), min(accuracy.values())]
        rows.append([str(run.folder), UNTRAINED, f"{backbone}{several}", seed, *measured])
    table = pd.DataFrame(rows, columns=[*KEY, "accuracy", "worst"])
    worst = over_seeds(table, GROUP, "worst").rename(columns={"mean": "worst", "deviation": "worst_deviation"})
    means = over_seeds(table, GROUP, "accuracy").rename(columns={"mean": "accuracy"})
    return means.merge(worst[[*GROUP, "worst", "worst_deviation"]], on=GROUP)


def draw(table: pd.DataFrame) -> Figure:
    """Accuracy, mean and worst domain, against depth with reference lines; beside it, uncovered layers per round."""
    extreme = table[table["depth"].notna()].sort_values("depth")
    styles = looks(extreme["label"])
    references = _references(table)
    names = [_group(row) for row in references.itertuples()]
    with panels(2, 3.1, names=[*styles, *names, WORST, EXPECTED]) as (figure, (left, right)):
        for label, rows in extreme.groupby("label", sort=False):
            _accuracy(left, rows, styles[label], f"{label}, n = {_counts(rows)}")
            _whiskers(right, rows, ("uncovered", "uncovered_low", "uncovered_high"), styles[label])
        left.plot([], [], "o", color=INK, fillstyle="none", linestyle=":", label=WORST)
        for index, (accuracy, name) in enumerate(zip(references["accuracy"], names, strict=True)):
            left.axhline(100 * accuracy, color=INK, linestyle=LINES[1:][index % 3], linewidth=1, label=name)
        theory = extreme.drop_duplicates("depth")
        right.plot(theory["depth"], theory["expected"], "x", color=INK, markersize=8, label=EXPECTED)
        left.set(xlabel="depth of every client", ylabel="accuracy in %")
        right.set(xlabel="depth of every client", ylabel="uncovered layers per round")
        for axes in (left, right):
            axes.set_xticks(sorted(set(extreme["depth"])))
        legend(figure, (left, right))
    return figure


def _accuracy(axes: Axes, rows: pd.DataFrame, look: Look, name: str) -> None:
    percent = rows[["accuracy", "low", "high", "worst"]].clip(0, 1).mul(100).assign(depth=rows["depth"])
    _whiskers(axes, percent, ("accuracy", "low", "high"), look, name)
    axes.plot(rows["depth"], percent["worst"], look.marker, color=look.colour, fillstyle="none", linestyle=":")


def _whiskers(axes: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], look: Look, name: str = "") -> None:
    middle, low, high = (rows[column] for column in columns)
    sides = [(middle - low).fillna(0), (high - middle).fillna(0)]
    axes.plot(rows["depth"], middle, color=look.colour, marker=look.marker, linestyle=look.line, label=name)
    axes.errorbar(rows["depth"].astype(int), middle, yerr=sides, fmt="none", capsize=3, ecolor=look.colour)


def _references(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of other fleets that share a label with rows of one depth, or train the head alone, or nothing."""
    head = table["label"].str.startswith(_WITHOUT_DEPTH) | (table["label"] == UNTRAINED)
    extreme = table["depth"].notna()
    return table[~extreme & (head | table["label"].isin(table.loc[extreme, "label"]))]


def _group(row: Any) -> str:
    return f"{row.label} ({row.fleet}), n = {row.n}"


def _counts(rows: pd.DataFrame) -> str:
    return ", ".join(map(str, sorted(set(rows["n"]))))


def leave(runs: Sequence[Run], out: str) -> None:
    """Write the table and the figure of these runs into a folder or URI."""
    table = analyse(runs)
    if not table["label"].str.startswith(_WITHOUT_DEPTH).any():
        print("no reference: none of the runs trains the head alone, as method=headonly does", file=sys.stderr)
    try:
        begun = untrained(runs)
    except SettingError as error:
        print(f"no reference: the untrained model cannot be evaluated: {error}", file=sys.stderr)
    else:
        table = pd.concat([table, begun], ignore_index=True).astype({"rounds": "Int64"})
    output.write(out, "extreme", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("extreme", __doc__, leave, arguments)


if __name__ == "__main__":
    sys.exit(main())
