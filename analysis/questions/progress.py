"""Accuracy against what it costs: rounds, bytes that travel, training FLOPs, hours on simulated devices.

    python -m analysis.questions.progress RUN_DIR... [--out figures]

Writes `progress`: one row per run and evaluated round, and a figure of means over seeds with bands of 95 % confidence
(Student's t). Costs are those of the updates that were averaged, up to and with the round; hours are empty where
`fleet.devices` names none.
"""

import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from analysis import command
from analysis.plots import output
from analysis.plots.lines import band, legend, looks, panels, percent, series
from analysis.runs.accuracy import by_round
from analysis.runs.costs import cost_of, method_of
from analysis.runs.groups import collect, over_seeds
from analysis.runs.reading import Run
from fedra_ray.cost.law import CostModel
from fedra_ray.cost.workload import describe
from fedra_ray.report.style import Look

#: What accuracy is drawn against: its axis, and the unit that gets a prefix (kilo, mega, ...).
PANELS = {
    "round": ("round", None),
    "bytes": ("bytes sent and received", "B"),
    "flops": ("FLOPs of training", "FLOP"),
    "hours": ("simulated hours", None),
}


def analyse(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run and evaluated round.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round; accuracy: mean top-1 of the domains, a fraction; and summed up
        from the first round: bytes of adapter values up and down, flops of the clients' training
        (`fedra_ray.cost.law`), hours on simulated devices, empty without them.
    """

    def of_run(run: Run) -> pd.DataFrame:
        rounds = run.table("rounds").set_index("round")
        total = pd.DataFrame(
            {
                "bytes": (rounds["bytes_up"] + rounds["bytes_down"]).cumsum(),
                "flops": training_flops(run, cost_of(run)).reindex(rounds.index, fill_value=0.0).cumsum(),
                "hours": rounds["simulated_s"].astype(float).cumsum().ffill() / 3600,
            }
        )
        return by_round(run).merge(total, on="round")

    return collect(runs, of_run)


def training_flops(run: Run, cost: CostModel) -> "pd.Series[float]":
    """FLOPs of each round's averaged clients, by the number of the round."""
    clients = run.table("clients")
    training = run.config.training
    method = method_of(run)
    parts = zip(clients["layers"], clients["examples"], clients["steps"], clients["depth"], strict=True)
    flops = [
        float(describe(method, layers.tolist(), images, steps, training, depth).flops(cost))
        for layers, images, steps, depth in parts
    ]
    return pd.Series(flops, index=clients["round"], dtype=float).groupby(level=0).sum()


def draw(table: pd.DataFrame) -> Figure:
    """Four panels: mean accuracy of each group of runs against `PANELS`, at the mean cost of a round's seeds.

    A panel has the runs for which its cost is known.
    """
    table = table.assign(series=series(table))
    styles = looks(table["series"])
    with panels(len(PANELS), 2.4, most=2, names=styles) as (figure, axes):
        for place, (column, (name, unit)) in zip(axes, PANELS.items(), strict=True):
            _panel(place, table, column, styles)
            place.set(xlabel=name, ylabel="accuracy in %")
            if unit:
                place.xaxis.set_major_formatter(EngFormatter(unit))
                place.locator_params(axis="x", nbins=5)
            if table[column].isna().all():
                place.text(0.5, 0.5, "no simulated devices", ha="center", transform=place.transAxes)
                place.set(xticks=[], yticks=[], ylabel="")
        legend(figure, axes)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, column: str, styles: dict[str, Look]) -> None:
    for name, rows in table.dropna(subset=column).groupby("series", sort=False):
        means = over_seeds(rows, ["round"], "accuracy").sort_values("round", ignore_index=True)
        x = rows.groupby("round")[column].mean().loc[means["round"]]
        band(axes, x.reset_index(drop=True), percent(means), styles[name], name)


def leave(runs: Sequence[Run], out: str) -> None:
    """Write the table and the figure of these runs into a folder or URI."""
    table = analyse(runs)
    output.write(out, "progress", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("progress", __doc__, leave, arguments)


if __name__ == "__main__":
    sys.exit(main())
