"""Whether a model's features say the same of a class in every domain: linear CKA between domains, layer by layer.

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
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.plots import output
from analysis.plots.lines import by_method, curve, last_rounds, legend, panels, reference
from analysis.runs.features import Array, Features, features
from analysis.runs.reading import Run, parser, read_runs
from analysis.runs.replay import Replay
from analysis.runs.selection import add_rounds, few_rounds, key
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


def class_means(found: Features, domain: int, classes: NDArray[np.int64]) -> Array:
    """Mean features (layers + 1, classes, width) of these classes' images of one domain."""
    chosen = [(found.domains == domain) & (found.labels == label) for label in classes]
    return np.stack([found.values[:, mask].mean(axis=1) for mask in chosen], axis=1)


def similarities(found: Features, domains: Sequence[str]) -> Iterator[dict[str, Any]]:
    """For every layer and pair of domains their CKA, and what it is by chance."""
    rng = np.random.default_rng(0)
    for one, other in combinations(range(len(domains)), 2):
        labels = [found.labels[found.domains == domain] for domain in (one, other)]
        classes = np.intersect1d(*labels)
        orders = [rng.permutation(len(classes)) for _ in range(_ORDERS)]
        means = (class_means(found, domain, classes) for domain in (one, other))
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
        Columns run, method, seed, round, layer (how many blocks the images went through), first and second (domains),
        cka and chance (not a number where all classes have the same features, as a class token has before any block).

    Raises:
        SettingError: for a round that is not kept, or a run whose data or backbone are not where they were.
    """
    return pd.DataFrame(row for run in runs for row in _rows(run, rounds, images))


def _rows(run: Run, rounds: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay, numbers = Replay(run), few_rounds(run, rounds)
    for number in numbers:
        found = features(replay, replay.values(number), run.config.evaluation.split, images)
        for row in similarities(found, replay.blueprint.domains):
            yield {**key(run), "round": number, **row}


def draw(table: pd.DataFrame) -> Figure:
    """CKA over layers, mean over pairs of domains, and after the last layer pair by pair, all after the last round."""
    last = last_rounds(table)
    methods = last["method"].unique()
    with panels(1 + len(methods), 2.4, most=4, names=["round 0", "chance", *methods]) as (figure, (axes, *matrices)):
        reference(axes, table[table["round"] == 0], "layer", "cka", "round 0")
        for index, method, of_method in by_method(last):
            curve(axes, of_method, "layer", "cka", index, method)
            _matrix(matrices[index], of_method, method)
        low = last["chance"].groupby(last["layer"]).mean()
        axes.plot(low.index, low, color="0.6", linewidth=1, label="chance")
        axes.set(title="domains alike", xlabel="blocks", ylabel="linear CKA", ylim=(0, 1))
        legend(figure, [axes])
    return figure


def _matrix(axes: Any, rows: pd.DataFrame, method: str) -> None:
    """A method's CKA of every two domains after its last layer."""
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
    axes.set(title=f"{method}, %", ylim=(len(domains) - 0.5, 0.5), xlim=(-0.5, len(domains) - 1.5))


def main(arguments: list[str] | None = None) -> int:
    """Compare the domains in the runs that the command line names; returns the exit code of `output.main`."""
    command = parser("similarity", __doc__)
    add_rounds(command, "the first, middle and last kept")
    command.add_argument("--images", type=int, default=IMAGES, help="of a domain (default: %(default)s)")
    given = command.parse_args(arguments)

    def carry_out() -> None:
        table = analyse(read_runs(given.runs), given.rounds, given.images)
        output.write(given.out, "similarity", table, draw(table))

    return output.main(carry_out)


if __name__ == "__main__":
    sys.exit(main())
