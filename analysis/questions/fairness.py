"""How evenly a global model serves the domains: the worst, the spread from best to worst, the deviation over domains.

    python -m analysis.questions.fairness RUN_DIR... [--out figures]

Writes `fairness`: final accuracy per run and domain, drawn as dots; and `fairness_summary`: one row per group of runs.
"""

import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis import command
from analysis.plots import output
from analysis.plots.lines import legend, looks, panels, series
from analysis.runs.groups import GROUP, KEY, collect, over_seeds
from analysis.runs.reading import Run
from fedra_ray.report.style import INK

#: What a summary states of each group; accuracies and differences of accuracies, fractions.
MEASURES = ("mean", "worst", "best", "spread", "over_domains")


def analyse(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run and domain: the columns of `KEY`, domain, accuracy (final top-1, a fraction)."""

    def of_run(run: Run) -> pd.DataFrame:
        accuracy = run.summary["accuracy"]
        return pd.DataFrame({"domain": list(accuracy), "accuracy": list(accuracy.values())})

    return collect(runs, of_run)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Fairness of each group of runs, from the table of `analyse`.

    Returns:
        label, fleet, n (seeds); then mean and, as NAME_deviation, sample deviation over seeds of: the mean over
        domains, the worst and the best domain, their spread, and over_domains, the standard deviation over all domains
        (they are not a sample); and worst_domain, the one whose mean over seeds is lowest.
    """
    accuracy = table.groupby(KEY, sort=False)["accuracy"]
    of_run = accuracy.agg(mean="mean", worst="min", best="max").assign(over_domains=accuracy.std(ddof=0))
    of_run = of_run.assign(spread=of_run["best"] - of_run["worst"]).reset_index()
    result = of_run.groupby(GROUP, sort=False).size().rename("n").reset_index()
    for name in MEASURES:
        means = over_seeds(of_run, GROUP, name)
        result[[name, f"{name}_deviation"]] = means[["mean", "deviation"]].to_numpy()
    domains = table.groupby([*GROUP, "domain"], sort=False)["accuracy"].mean().reset_index()
    lowest = domains.loc[domains.groupby(GROUP, sort=False)["accuracy"].idxmin(), "domain"]
    return result.assign(worst_domain=lowest.to_list())


def draw(table: pd.DataFrame) -> Figure:
    """A line per group of runs from its worst to its best domain, a dot per domain, a tick at their mean."""
    table = table.assign(series=series(table), percent=100 * table["accuracy"])
    means = table.groupby(["series", "domain"], sort=False)["percent"].mean().unstack("domain")
    styles = looks(table["domain"])
    with panels(1, 0.8 + 0.36 * len(means), names=["mean", *styles]) as (figure, (axes,)):
        places = range(len(means))
        axes.hlines(places, means.min(axis=1), means.max(axis=1), color=INK, linewidth=0.8, zorder=1)
        axes.plot(means.mean(axis=1), places, "|", color=INK, markersize=14, markeredgewidth=2, label="mean")
        for domain, look in styles.items():
            axes.plot(means[domain], places, look.marker, color=look.colour, markersize=6, label=domain)
        axes.set(xlabel="accuracy in %, mean over seeds", ylim=(len(means) - 0.5, -0.5))
        axes.set_yticks(places, means.index)
        axes.grid(axis="x", linewidth=0.4, alpha=0.5)
        legend(figure, [axes])
    return figure


def leave(runs: Sequence[Run], out: str) -> None:
    """Write the tables and the figure of these runs into a folder or URI."""
    table = analyse(runs)
    output.write(out, "fairness", table, draw(table))
    output.write(out, "fairness_summary", summarise(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("fairness", __doc__, leave, arguments)


if __name__ == "__main__":
    sys.exit(main())
