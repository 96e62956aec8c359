"""How evenly a method teaches the layers, method beside method: probes, updates and domains, and one number.

    python -m analysis.questions.imbalance RUN_DIR... [--out FOLDER] [--images 512]

FedRA holds that depth-wise methods cause *feature imbalance*: few clients, and few domains, train the deep layers.
Drawing layers at random is meant to avoid that. The figure has one column per method, all after the last kept round:
what a linear probe reads after every block (`analysis.questions.probes`), how far each layer's LoRA came and in how
many directions (`analysis.questions.updates`), and how alike the domains are (`analysis.questions.similarity`).

The number is the Gini coefficient over the layers of the full model of the Frobenius norm of their LoRA updates: 0 if
all layers came equally far, (L - 1) / L if one of L layers learnt all there is. It is chosen because

- LoRA begins at zero in every layer, so the norm is what was learnt, and nothing else, in the same unit for all layers;
- it is a ratio: a method that learns more, or at another rate, has the same coefficient if the layers share alike, and
  so methods that are tuned apart can be compared;
- it needs neither images nor labels, so it has no sampling error, and is bounded and defined for every method.

It does not know which domains taught a layer, nor that layers may need unequal updates; the figure's other rows, and
the coefficient of AllLarge, in which all clients train all layers, are what to hold it against.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from analysis import command
from analysis.plots import output
from analysis.plots.lines import by_label, curve, legend
from analysis.questions import probes, similarity, updates
from analysis.runs.features import features
from analysis.runs.groups import KEY, collect
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import every_round
from fedra_ray.report.style import drawing

ROWS = {"accuracy": "probe, %", "norm": "update norm", "effective_rank": "effective rank", "cka": "CKA of domains"}
TOPS = {"accuracy": 100, "cka": 1}


def gini(shares: ArrayLike) -> float:
    """Gini coefficient of non-negative shares (n,): half the mean absolute difference of two, over the mean.

    0 if all are equal, (n - 1) / n if one has everything; not a number if all are 0.
    """
    values = np.asarray(shares, dtype=np.float64)
    if not values.sum():
        return float("nan")
    return float(np.abs(values[:, None] - values).mean() / (2 * values.mean()))


def analyse(runs: Sequence[Run], images: int = probes.IMAGES) -> pd.DataFrame:
    """What every run's layers are like after its last kept round, one row per measurement.

    Args:
        runs: Finished runs that keep restart points.
        images: The most images of a domain and split, drawn uniformly.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, layer, measure (a key of `ROWS`), part and value. Accuracies,
        in [0, 1], have one part per domain, cka one per pair of domains; norm and effective_rank are those of the layer
        as a whole.

    Raises:
        SettingError: for a run that keeps no restart point, or whose data or backbone are not where they were.
    """
    return collect(runs, lambda run: _rows(run, images))


def _rows(run: Run, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    number = every_round(run)[-1]
    values = replay.values(number)
    domains = replay.blueprint.domains
    test = features(replay, values, run.config.evaluation.split, images)
    measured: list[tuple[int, str, str, float]] = []
    accuracies = probes.accuracies(features(replay, values, "train", images), test)
    measured += [(layer, "accuracy", domains[domain], value) for (layer, domain), value in np.ndenumerate(accuracies)]
    for row in similarity.similarities(test, domains):
        measured.append((row["layer"], "cka", f"{row['first']} and {row['second']}", row["cka"]))
    for row in updates.of_layers(updates.analyse([run], [number])).itertuples():
        measured += [(row.layer, "norm", "", row.norm), (row.layer, "effective_rank", "", row.effective_rank)]
    for layer, measure, part, value in measured:
        yield {"round": number, "layer": layer, "measure": measure, "part": part, "value": value}


def of_runs(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run with its `imbalance`: the Gini coefficient over layers of the update norm."""
    norms = table[table["measure"] == "norm"].groupby(KEY, sort=False)["value"]
    return norms.agg(gini).rename("imbalance").reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per label: its runs, and mean and sample standard deviation of their imbalance."""
    grouped = of_runs(table).groupby("label", sort=False)["imbalance"]
    return grouped.agg(runs="size", imbalance="mean", deviation="std").reset_index()


def draw(table: pd.DataFrame) -> Figure:
    """One column per label, one row per measure over layers: accuracy by domain, else mean and range of the runs."""
    labels = table["label"].unique()
    numbers = summary(table).set_index("label")["imbalance"]
    width = max(5.0, 1.0 + 1.9 * len(labels))
    with drawing(width, 6.4, len(ROWS), len(labels)) as (figure, panels):
        for place, (measure, name) in enumerate(ROWS.items()):
            row = panels[place * len(labels) : (place + 1) * len(labels)]
            row[0].set_ylabel(name)
            for axes in row[1:]:
                axes.sharey(row[0])
            for index, _, rows in by_label(table[table["measure"] == measure]):
                _panel(row[index], rows, index)
                row[index].sharex(panels[index])
            row[0].set_ylim(0, TOPS.get(measure) or 1.1 * table.loc[table["measure"] == measure, "value"].max())
        for index, label in enumerate(labels):
            panels[index].set_title(f"{label}\nimbalance {numbers[label]:.2f}")
            panels[-len(labels) + index].set_xlabel("layer")
        legend(figure, panels[:1])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, index: int) -> None:
    """One measure of the runs of one label."""
    if rows["measure"].iloc[0] != "accuracy":
        curve(axes, rows, "layer", "value", index)
        return
    for number, (domain, of_domain) in enumerate(rows.groupby("part")):
        curve(axes, of_domain.assign(value=100 * of_domain["value"]), "layer", "value", number, str(domain))


def leave(runs: Sequence[Run], out: str, images: int = probes.IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, images)
    output.write(out, "imbalance", table, draw(table))
    output.write(out, "imbalance_runs", of_runs(table))
    output.write(out, "imbalance_methods", summary(table))
    print(summary(table).to_string(index=False, float_format="{:.3f}".format))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("imbalance", __doc__, leave, arguments, command.images(probes.IMAGES, "a domain and split"))


if __name__ == "__main__":
    sys.exit(main())
