"""Maps of a model's features, in which one sees whether images lie together by class or by domain.

    python -m analysis.questions.embedding RUN_DIR... [--out FOLDER] [--layers 6 12] [--images 600]

t-SNE (van der Maaten and Hinton, JMLR 2008) of features at some layers after the last kept round, of images of the
evaluation split, equally many of each domain. Neighbours mean something; distances between far groups and sizes of
groups do not. One seed of every method is shown, the first that is named.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from analysis import command
from analysis.plots import output
from analysis.runs.features import Array, features
from analysis.runs.groups import collect
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import every_round
from fedra_ray.config.errors import SettingError
from fedra_ray.report.style import MARKERS, drawing, look

IMAGES = 600
SHOWN_CLASSES = 10


def analyse(runs: Sequence[Run], layers: Sequence[int] | None = None, images: int = IMAGES) -> pd.DataFrame:
    """One row per image and layer, of the first run of every method.

    Args:
        runs: Finished runs that keep restart points.
        layers: After how many blocks; None takes half of those evaluated, and all.
        images: The most images of all domains together.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, layer, domain, class, name (of the class), x and y (of the
        map).

    Raises:
        SettingError: for a layer beyond the evaluated ones, too few images, or a run that keeps no restart point.
    """
    first = {run.label: run for run in reversed(runs)}
    chosen = sorted(first.values(), key=runs.index)
    return collect(chosen, lambda run: _rows(run, layers, images))


def embed(values: Array) -> Array:
    """A map (images, 2) of standardised features (images, width), the same every time."""
    perplexity = min(30.0, (len(values) - 1) / 3)
    flat = StandardScaler().fit_transform(values)
    if not flat.any():  # a class token that has seen no image: all lie in one place
        return np.zeros((len(values), 2))
    # One thread: the sums of several come in another order every time. After 500 steps such small maps have settled.
    with threadpool_limits(1):
        return TSNE(init="pca", perplexity=perplexity, max_iter=500, random_state=0).fit_transform(flat)


def _rows(run: Run, layers: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    number = every_round(run)[-1]
    per_domain = images // len(replay.blueprint.domains)
    deepest = len(replay.method.evaluated_layers)
    if per_domain < 2:
        raise SettingError("--images", images, "must be at least two for every domain")
    measured = features(replay, replay.values(number), run.config.evaluation.split, per_domain)
    for layer in layers or (deepest // 2, deepest):
        if not 0 <= layer <= deepest:
            raise SettingError("--layers", layer, f"{run.label} evaluates {deepest} layers")
        points = zip(measured.labels, measured.domains, embed(measured.values[layer]), strict=True)
        for label, domain, (x, y) in points:
            names = {"domain": replay.blueprint.domains[domain], "name": replay.blueprint.classes[label]}
            yield {"round": number, "layer": layer, "class": label, **names, "x": x, "y": y}


def draw(table: pd.DataFrame) -> Figure:
    """One row per label; for every layer the map coloured by domain, and by the first ten classes, the others grey."""
    domains = sorted(table["domain"].unique())
    labels = table["label"].unique()
    names = table.drop_duplicates("class").sort_values("class")["name"].tolist()[:SHOWN_CLASSES]
    columns = 2 * table.groupby("label")["layer"].nunique().max()
    with drawing(1.8 * columns, 0.9 + 1.8 * len(labels), len(labels), columns) as (figure, panels):
        for axes in panels:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for index, label in enumerate(labels):
            rows = table[table["label"] == label]
            here = panels[index * columns : (index + 1) * columns]
            here[0].set_ylabel(label)
            for (layer, of_layer), place in zip(rows.groupby("layer"), range(0, columns, 2), strict=False):
                _points(here[place], of_layer, "domain", domains)
                _points(here[place + 1], of_layer, "name", names)
                here[place].set_title(f"{layer} blocks, domains")
                here[place + 1].set_title("classes")
        for axes, title, side in ((panels[0], "domain", "left"), (panels[1], "class", "right")):
            handles, values = axes.get_legend_handles_labels()
            figure.legend(handles, values, title=title, loc=f"outside lower {side}", ncols=5, handletextpad=0)
    return figure


def _points(axes: Axes, rows: pd.DataFrame, by: str, values: Sequence[str]) -> None:
    """A map whose points have the colour and the marker of their value, and are pale where that is not listed."""
    rest = rows[~rows[by].isin(values)]
    axes.scatter(rest["x"], rest["y"], s=2, color="0.85", linewidth=0)
    for index, value in enumerate(values):
        chosen = rows[rows[by] == value]
        marker = MARKERS[(index + index // len(MARKERS)) % len(MARKERS)]
        axes.scatter(chosen["x"], chosen["y"], s=7, color=look(index).colour, marker=marker, linewidth=0, label=value)


def _layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, nargs="+", metavar="LAYER", help="blocks (default: half and all)")


def leave(runs: Sequence[Run], out: str, layers: Sequence[int] | None = None, images: int = IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, layers, images)
    output.write(out, "embedding", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer(
        "embedding", __doc__, leave, arguments, _layers, command.images(IMAGES, "all domains together")
    )


if __name__ == "__main__":
    sys.exit(main())
