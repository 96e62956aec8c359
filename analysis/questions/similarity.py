"""Whether a model's features represent a class alike in every domain: linear CKA between domains, layer by layer.

    python -m analysis.questions.similarity RUN_DIR... [--out FOLDER] [--rounds 20 40] [--images 512]

Centred kernel alignment (Kornblith et al., arXiv 1905.00414, section 3) compares two sets of features of the *same*
examples. Two domains share no image; what they share is the classes. So features are averaged by class, and row c of
both sets is the mean over images of class c: what is compared is how the classes lie to each other. Classes that one of
the two domains lacks are left out.

With fewer classes than features CKA is well above 0 even for classes that have nothing to do with each other. How far
above is measured: column `chance` has the mean with the classes of one domain put in other orders.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import command
from analysis.plots import output
from analysis.plots.lines import by_label, curve, last_rounds, legend, panels, reference
from analysis.runs.features import Array, Features, features
from analysis.runs.groups import collect
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import few_rounds
from fedra_ray.report.style import SEQUENTIAL

IMAGES = 512
_ORDERS = 5


def linear_cka(first: Array, second: Array) -> float:
    """Linear CKA of two sets of features (examples, width), in its form over features.

    ||Y'X||² / (||X'X|| ||Y'Y||) for centred X and Y, Kornblith et al., section 3: 1 if one is a rotation and a scaling
    of the other, 0 if they are uncorrelated; not a number if one is the same for all examples.
    """
    first, second = (values.astype(np.float64) - values.mean(axis=0, dtype=np.float64) for values in (first, second))
    norms = np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)
    return float(np.linalg.norm(second.T @ first) ** 2 / norms) if norms else float("nan")


def class_means(measured: Features, domain: int, classes: NDArray[np.int64]) -> Array:
    """Mean features (layers + 1, classes, width) of these classes' images of one domain."""
    masks = [(measured.domains == domain) & (measured.labels == label) for label in classes]
    return np.stack([measured.values[:, mask].mean(axis=1) for mask in masks], axis=1)


def similarities(measured: Features, domains: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row per pair of domains and layer: layer, first and second (domains), cka, and chance."""
    rng = np.random.default_rng(0)
    for one, other in combinations(range(len(domains)), 2):
        labels = [measured.labels[measured.domains == domain] for domain in (one, other)]
        classes = np.intersect1d(*labels)
        orders = [rng.permutation(len(classes)) for _ in range(_ORDERS)]
        means = (class_means(measured, domain, classes) for domain in (one, other))
        for layer, (first, second) in enumerate(zip(*means, strict=True)):
            chance = float(np.mean([linear_cka(first, second[order]) for order in orders]))
            pair = {"layer": layer, "first": domains[one], "second": domains[other]}
            yield {**pair, "cka": linear_cka(first, second), "chance": chance}


def analyse(runs: Sequence[Run], rounds: Sequence[int] | None = None, images: int = IMAGES) -> pd.DataFrame:
    """One row per run, round, layer and pair of domains.

    Args:
        runs: Finished runs that keep restart points.
        rounds: Kept rounds, besides round 0; None takes the first, the middle and the last kept.
        images: The most images of a domain, drawn uniformly from the run's evaluation split.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, layer (how many blocks the images went through), first and
        second (domains), cka and chance (not a number where all classes have the same features, as a class token has
        before any block).

    Raises:
        SettingError: for a round that is not kept, or a run whose data or backbone are not where they were.
    """
    return collect(runs, lambda run: _rows(run, rounds, images))


def _rows(run: Run, rounds: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    for number in few_rounds(run, rounds):
        measured = features(replay, replay.values(number), run.config.evaluation.split, images)
        for row in similarities(measured, replay.blueprint.domains):
            yield {"round": number, **row}


def draw(table: pd.DataFrame) -> Figure:
    """CKA over layers, mean over pairs of domains, and after the last layer pair by pair, all after the last round."""
    last = last_rounds(table)
    names = last["label"].unique()
    with panels(1 + len(names), 2.4, most=4, names=["round 0", "chance", *names]) as (figure, (axes, *matrices)):
        reference(axes, table[table["round"] == 0], "layer", "cka", "round 0")
        for index, label, rows in by_label(last):
            curve(axes, rows, "layer", "cka", index, label)
            _matrix(matrices[index], rows, label)
        low = last["chance"].groupby(last["layer"]).mean()
        axes.plot(low.index, low, color="0.6", linewidth=1, label="chance")
        axes.set(title="domains alike", xlabel="blocks", ylabel="linear CKA", ylim=(0, 1))
        legend(figure, [axes])
    return figure


def _matrix(axes: Axes, rows: pd.DataFrame, label: str) -> None:
    """The CKA of every two domains after the last layer, for the runs of one label."""
    deepest = rows[rows["layer"] == rows["layer"].max()].groupby(["first", "second"], sort=False)["cka"].mean()
    domains = list(dict.fromkeys(name for pair in deepest.index for name in pair))
    matrix = np.full((len(domains), len(domains)), np.nan)
    for (first, second), value in deepest.items():
        matrix[domains.index(second), domains.index(first)] = value
    axes.imshow(matrix, cmap=SEQUENTIAL, vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            ink = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=ink)
    axes.set_xticks(range(len(domains) - 1), domains[:-1], rotation=90)
    axes.set_yticks(range(1, len(domains)), domains[1:])
    axes.set(title=f"{label}, %", ylim=(len(domains) - 0.5, 0.5), xlim=(-0.5, len(domains) - 1.5))


def leave(runs: Sequence[Run], out: str, rounds: Sequence[int] | None = None, images: int = IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, rounds, images)
    output.write(out, "similarity", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer(
        "similarity",
        __doc__,
        leave,
        arguments,
        command.rounds("the first, middle and last kept"),
        command.images(IMAGES, "a domain"),
    )


if __name__ == "__main__":
    sys.exit(main())
