"""How well a linear probe after every block tells the classes, domain by domain.

    python -m analysis.questions.probes RUN_DIR... [--out FOLDER] [--rounds 0 20 40] [--images 512]

A probe is a ridge classifier on standardised features, fitted on training images of all domains together and tested on
each domain's evaluation split (Alain and Bengio, arXiv 1610.01644, probe in this way, with logistic regression; ridge
has a closed form, and chooses its penalty by leave-one-out error on the training images). Features are those that a
head at that depth would read. So layer 0, before any block, is at chance for a backbone that reads a class token, which
has seen no image by then. FedRA holds that layers drawn at random are all taught by all domains: where that fails,
accuracy falls behind in the domains of shallow clients, from the layer on that these clients never held.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis import command
from analysis.plots import output
from analysis.plots.lines import by_label, curve, last_rounds, legend, panels, reference
from analysis.runs.features import Features, features
from analysis.runs.groups import collect
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import few_rounds
from fedra_ray.report.style import INK

IMAGES = 512
_PENALTIES = np.logspace(-1, 4, 6)


def accuracies(train: Features, test: Features) -> NDArray[np.float64]:
    """Accuracy (layers + 1, domains) of a probe after every block, on every domain that the test images have."""
    domains = np.unique(test.domains)
    rows = []
    for fitted, tested in zip(train.values, test.values, strict=True):
        probe = make_pipeline(StandardScaler(), RidgeClassifierCV(_PENALTIES)).fit(fitted, train.labels)
        hits = probe.predict(tested) == test.labels
        rows.append([hits[test.domains == domain].mean() for domain in domains])
    return np.array(rows)


def analyse(runs: Sequence[Run], rounds: Sequence[int] | None = None, images: int = IMAGES) -> pd.DataFrame:
    """One row per run, round, layer and domain.

    Args:
        runs: Finished runs that keep restart points.
        rounds: Kept rounds, besides round 0; None takes the first, the middle and the last kept.
        images: The most images of a domain, drawn uniformly, to fit a probe on, and as many to test it on.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, layer (how many blocks the images went through), domain, and
        accuracy in [0, 1].

    Raises:
        SettingError: for a round that is not kept, or a run whose data or backbone are not where they were.
    """
    return collect(runs, lambda run: _rows(run, rounds, images))


def _rows(run: Run, rounds: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    for number in few_rounds(run, rounds):
        values = replay.values(number)
        train = features(replay, values, "train", images)
        test = features(replay, values, run.config.evaluation.split, images)
        for (layer, domain), accuracy in np.ndenumerate(accuracies(train, test)):
            measured = {"layer": layer, "domain": replay.blueprint.domains[domain], "accuracy": accuracy}
            yield {"round": number, **measured}


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every run's last round, with a column `gain`: accuracy less that of round 0."""
    same = ["run", "layer", "domain"]
    start = table[table["round"] == 0].set_index(same)["accuracy"]
    last = last_rounds(table).set_index(same)
    return last.assign(gain=last["accuracy"] - start).reset_index()


def draw(table: pd.DataFrame) -> Figure:
    """Accuracy over layers, mean over domains; and in one panel per domain the gain since round 0, in points."""
    table = table.assign(accuracy=100 * table["accuracy"])
    last = gains(table)
    domains = table["domain"].unique()
    names = ["round 0", *last["label"]]
    with panels(1 + len(domains), 1.9, most=4, names=names) as (figure, (whole, *others)):
        for axes in others[1:]:
            axes.sharey(others[0])
        reference(whole, table[table["round"] == 0], "layer", "accuracy", "round 0")
        for index, label, rows in by_label(last):
            curve(whole, rows, "layer", "accuracy", index, label)
            for axes, domain in zip(others, domains, strict=True):
                curve(axes, rows[rows["domain"] == domain], "layer", "gain", index)
        whole.set(title="all domains", ylabel="probe accuracy, %", ylim=(0, 100))
        for axes, domain in zip(others, domains, strict=True):
            axes.axhline(0, color=INK, linestyle=":", linewidth=1)
            axes.set_title(domain)
        others[0].set_ylabel("gain, points")
        for axes in (whole, *others):
            axes.set_xlabel("blocks")
        legend(figure, [whole])
    return figure


def leave(runs: Sequence[Run], out: str, rounds: Sequence[int] | None = None, images: int = IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, rounds, images)
    output.write(out, "probes", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer(
        "probes",
        __doc__,
        leave,
        arguments,
        command.rounds("the first, middle and last kept"),
        command.images(IMAGES, "a domain and split"),
    )


if __name__ == "__main__":
    sys.exit(main())
