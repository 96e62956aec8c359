"""Who trained which layer how often: shares of clients, domains and rounds, their balance, and uncovered layers.

    python -m analysis.questions.balance RUN_DIR... [--out figures]

Writes `balance` (a row per run, client and layer), `balance_holders` (per run, round and layer), `balance_domains` (per
run, layer and domain), `balance_layers` (per run and layer) and `balance_coverage` (per group of runs: observed against
expected), and a figure of each but the domains'. Only averaged updates count. Runs of methods that train no layer are
left out.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analysis import command
from analysis.plots import output
from analysis.plots.lines import band, legend, looks, panels, series
from analysis.questions import coverage
from analysis.runs.groups import KEY, collect, over_seeds
from analysis.runs.reading import Run
from fedra_ray.config.errors import SettingError
from fedra_ray.report.style import SEQUENTIAL
from fedra_ray.run_dir.claim import SETTING

_MOST_NAMES = 30  # more rows than this cannot be named


def tuning(runs: Sequence[Run]) -> list[Run]:
    """Those of the runs in which layers were trained.

    Raises:
        SettingError: if there are none.
    """
    trained = [run for run in runs if np.concatenate([*run.table("rounds")["layer_holders"]]).any()]
    if not trained:
        raise SettingError(SETTING, [str(run.folder) for run in runs], "no layer was trained in any of them")
    return trained


def analyse(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, client and layer.

    Returns:
        The columns of `KEY`, client, domain; depth: mean over the client's rounds; place: from 0, the deepest client
        first, so that seeds which deal depths to other clients can be compared; rounds: how many had the client's
        update; layer: from 0; held: in how many of these rounds the client held it; share: held / rounds.
    """
    return collect(runs, _clients)


def holders(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, round and layer: the columns of `KEY`, round, layer, holders (averaged updates that held it)."""

    def of_run(run: Run) -> pd.DataFrame:
        rows = run.table("rounds")[["round", "layer_holders"]].explode("layer_holders", ignore_index=True)
        rows["layer"] = rows.groupby("round").cumcount()
        return rows.rename(columns={"layer_holders": "holders"})[["round", "layer", "holders"]].astype(int)

    return collect(runs, of_run)


def domains(table: pd.DataFrame) -> pd.DataFrame:
    """Whose updates trained each layer, from the table of `analyse`: one row per run, layer and domain.

    Returns:
        The columns of `KEY`, layer, domain, held (averaged updates), share (of all that held the layer).
    """
    held = table.groupby([*KEY, "layer", "domain"], sort=False)["held"].sum().reset_index()
    return held.assign(share=held["held"] / held.groupby([*KEY, "layer"])["held"].transform("sum"))


def layers(table: pd.DataFrame) -> pd.DataFrame:
    """Balance of each layer, from the table of `analyse`: one row per run and layer.

    Returns:
        The columns of `KEY`, layer; held: averaged updates that held it; clients: how many different ones;
        entropy_clients and entropy_domains: entropy of the distribution of `held` over all clients, and all domains,
        that were ever averaged, divided by its largest value, the logarithm of their number: 1 is balanced, 0 is all by
        one; empty for a layer without a holder, and where there is only one client or domain.
    """
    by = [*KEY, "layer"]
    clients = table.groupby(by, sort=False)["held"]
    result = clients.agg(held="sum", clients=np.count_nonzero, entropy_clients=entropy)
    result["entropy_domains"] = domains(table).groupby(by, sort=False)["held"].agg(entropy)
    return result.reset_index()


def entropy(counts: Sequence[int]) -> float:
    """Entropy of counts (n,) as a share of the largest possible, log n; not a number if n < 2 or all are 0."""
    if len(counts) < 2 or not np.any(counts):
        return float("nan")
    return float(stats.entropy(counts) / np.log(len(counts)))


def draw(table: pd.DataFrame) -> Figure:
    """Heat maps of clients against layers, a panel per group of runs: the share of rounds in which a client held one.

    Clients of equal place are averaged over seeds.
    """

    def panel(axes: Axes, rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        depths = rows.groupby("place")["depth"].mean()
        if len(depths) <= _MOST_NAMES:
            axes.set_yticks(depths.index, [f"{depth:.3g}" for depth in depths])
        return rows.groupby(["place", "layer"])["share"].mean().unstack("layer"), "client, by depth"

    return _heat(table, panel, "share of rounds", "layer", largest=1.0)


def draw_holders(table: pd.DataFrame) -> Figure:
    """Heat maps of layers against rounds, a panel per group of runs: the mean number of holders over seeds."""

    def panel(axes: Axes, rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        return rows.groupby(["layer", "round"])["holders"].mean().unstack("round"), "layer"

    return _heat(table, panel, "holders", "round", largest=table["holders"].max())


def draw_layers(table: pd.DataFrame) -> Figure:
    """How often each layer was trained, and how evenly over domains and over clients; means and bands over seeds."""
    table = table.assign(series=series(table))
    titles = {
        "held": "averaged updates",
        "entropy_domains": "balance over domains",
        "entropy_clients": "balance over clients",
    }
    styles = looks(table["series"])
    with panels(3, 2.3, names=styles) as (figure, axes):
        for place, (column, title) in zip(axes, titles.items(), strict=True):
            for name, rows in table.groupby("series", sort=False):
                means = over_seeds(rows, ["layer"], column)
                means["low"] = means["low"].clip(lower=0)
                means["high"] = means["high"].clip(upper=None if column == "held" else 1)
                band(place, means["layer"], means, styles[name], name)
            place.set(title=title, xlabel="layer", ylim=(0, None) if column == "held" else (-0.05, 1.05))
            place.locator_params(axis="x", integer=True)
        legend(figure, axes)
    return figure


Panel = Callable[[Axes, pd.DataFrame], tuple[pd.DataFrame, str]]


def _heat(table: pd.DataFrame, panel: Panel, colours: str, xlabel: str, largest: float) -> Figure:
    """A heat map per group of runs.

    Args:
        table: The rows of all groups.
        panel: Called with the axes and the rows of a group; returns its matrix and the label of its vertical axis.
        colours: What the colours mean.
        xlabel: Label of the horizontal axes.
        largest: The value of the brightest colour.
    """
    groups = table.assign(series=series(table)).groupby("series", sort=False)
    with panels(len(groups), 2.2, most=2) as (figure, axes):
        for place, (name, rows) in zip(axes, groups, strict=True):
            values, ylabel = panel(place, rows)
            edges = values.columns.min() - 0.5, values.columns.max() + 0.5, len(values) - 0.5, -0.5
            style: dict[str, Any] = {"aspect": "auto", "cmap": SEQUENTIAL, "interpolation": "nearest"}
            image = place.imshow(values, vmin=0, vmax=largest, extent=edges, **style)
            place.set(title=name, xlabel=xlabel, ylabel=ylabel)
            place.locator_params(axis="x", integer=True)
        figure.colorbar(image, ax=axes, label=colours, shrink=0.8)
    return figure


def _clients(run: Run) -> pd.DataFrame:
    clients = run.table("clients")
    known = clients.groupby("client").agg(domain=("domain", "first"), depth=("depth", "mean"), rounds=("round", "size"))
    known = known.reset_index().sort_values(["depth", "client"], ascending=[False, True], ignore_index=True)
    known["place"] = known.index
    grid = known.merge(pd.DataFrame({"layer": range(run.num_layers)}), how="cross")
    pairs = clients[["client", "layers"]].explode("layers").rename(columns={"layers": "layer"}).dropna()
    held = pairs.astype(int).groupby(["client", "layer"]).size().rename("held").reset_index()
    rows = grid.merge(held, how="left", on=["client", "layer"]).fillna({"held": 0}).astype({"held": int})
    return rows.assign(share=rows["held"] / rows["rounds"])


def leave(runs: Sequence[Run], out: str) -> None:
    """Write the tables and the figures of these runs into a folder or URI."""
    trained = tuning(runs)
    table = analyse(trained)
    by_round = holders(trained)
    by_layer = layers(table)
    covered = coverage.analyse(trained)
    output.write(out, "balance", table, draw(table))
    output.write(out, "balance_holders", by_round, draw_holders(by_round))
    output.write(out, "balance_domains", domains(table))
    output.write(out, "balance_layers", by_layer, draw_layers(by_layer))
    output.write(out, "balance_coverage", covered, coverage.draw(covered))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("balance", __doc__, leave, arguments)


if __name__ == "__main__":
    sys.exit(main())
