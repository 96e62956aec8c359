"""How far an aggregated model is from the mean of its clients' outputs: the claim that LoRA branches add up.

    python -m analysis.questions.additivity RUN_DIR... [--out FOLDER] [--rounds 0 20 40] [--images 10]

FedRA's paper (arXiv 2311.11227) argues that B1 A1 x + B2 A2 x = 2 mean(B) mean(A) x. In general that is false: the two
sides differ by the covariance of the factors over the clients (`analysis.runs.factors`). It holds where all A, or all
B, are equal, and in a layer with one holder; a layer without a holder stays as it is, so it has no gap. A run begins
with equal A and B = 0, and A moves only once B and the head have, so the gap is small at first and grows over rounds.

Clients are trained for one more round from a kept global adapter, in four situations: all hold `all layers`; all hold
the `same layers`, a random choice of their mean depth; each holds its own `FedRA draw`, as deep as it can; or they hold
`disjoint layers`, as far as there are enough. Then

- per layer, for inputs x that this layer has in the global model before the round, the branch's output s B A x with
  aggregated factors is compared with the mean of the holders' s B_k A_k x;
- end to end the aggregated model's class scores are compared with the mean over clients of the scores of the global
  model with the client's layers and head in place (`scores`), and of the client's own sub-model (`sub-models`).

Three ways to aggregate are compared: mean of factors (FedIT), mean of products cut back to the rank (FlexLoRA), and
stacking (FLoRA). Stacking is exact per layer. What remains of it end to end is the network between the layers, which
is not linear: that much of a gap has nothing to do with factors.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis import command
from analysis.plots import output
from analysis.plots.lines import curve, legend, panels
from analysis.runs.costs import method_of
from analysis.runs.factors import AGGREGATIONS
from analysis.runs.gaps import layer_gaps, score_gaps
from analysis.runs.groups import KEY, collect
from analysis.runs.images import batches
from analysis.runs.reading import Run
from analysis.runs.replay import Replay, with_layers
from analysis.runs.selection import few_rounds
from analysis.runs.tuned import Tuned
from fedra_ray.config.errors import SettingError
from fedra_ray.federation import allocation
from fedra_ray.federation.messages import ClientTask
from fedra_ray.federation.seeding import Purpose, generator
from fedra_ray.report.style import look
from fedra_ray.run_dir.claim import SETTING

IMAGES = 10
SITUATIONS = ("all layers", "same layers", "FedRA draw", "disjoint layers")


def analyse(runs: Sequence[Run], rounds: Sequence[int] | None = None, images: int = IMAGES) -> pd.DataFrame:
    """One row per run, round, situation, aggregation, and layer or part of the model.

    Runs of methods with several heads (DepthFL) are left out: their clients cannot train any choice of layers.

    Args:
        runs: Finished runs that keep restart points.
        rounds: Kept rounds, besides round 0, from which clients are trained; None takes the first, middle and last.
        images: The most images of a domain's evaluation split.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, situation, aggregation, part (`layer`, `scores` or
        `sub-models`), layer (from 1; none for the other parts), holders, error (norm of aggregated less mean outputs,
        over the norm of the mean outputs), error_of_change (the same over the norm of what the round changed in the
        mean outputs).

    Raises:
        SettingError: for a round that is not kept, or if no run has a method with one head.
    """
    suitable = [run for run in runs if _has_one_head(run)]
    if not suitable:
        raise SettingError(SETTING, " ".join(str(run.folder) for run in runs), "name a run whose model has one head")
    return collect(suitable, lambda run: _rows(run, rounds, images)).astype({"layer": "Int64"})


def _has_one_head(run: Run) -> bool:
    return len(method_of(run).head_names) == 1


def _rows(run: Run, rounds: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    sample = torch.cat([batch for _, batch, _ in batches(replay, run.config.evaluation.split, images)])
    for number in few_rounds(run, rounds):
        values = replay.values(number)
        for situation, tasks in situations(replay, number + 1).items():
            tuned = Tuned.of(replay, values, replay.train(tasks, number))
            for row in (*layer_gaps(tuned, sample), *score_gaps(tuned, sample)):
                yield {"round": number, "situation": situation, **row}


def situations(replay: Replay, number: int) -> dict[str, list[ClientTask]]:
    """The tasks of a round's cohort with the layers that clients hold in each of `SITUATIONS`."""
    tasks = replay.tasks(number)
    layers = replay.method.evaluated_layers
    depths = replay.blueprint.fleet().depths(number)
    own = [min(int(depths[task.client]), len(layers)) for task in tasks]
    rng = generator(replay.run.config.seed, Purpose.ALLOCATION, number)  # FedRA's own draw, if the run is FedRA's
    drawn = allocation.uniform(own, len(layers), rng)
    same = allocation.uniform([round(np.mean(own))], len(layers), rng).repeat(len(tasks), axis=0)
    disjoint = allocation.balanced([max(1, len(layers) // len(tasks))] * len(tasks), len(layers), rng)
    matrices = (np.ones_like(drawn), same, drawn, disjoint)
    return {
        name: [with_layers(task, np.array(layers)[row].tolist()) for task, row in zip(tasks, matrix, strict=True)]
        for name, matrix in zip(SITUATIONS, matrices, strict=True)
    }


def draw(table: pd.DataFrame) -> Figure:
    """One panel per situation: the gap over layers and end to end, as a share of the round's change, by aggregation.

    Means over all runs and rounds and, per layer, over the cases with two or more holders; the others have no gap.
    """
    shown = table[(table["part"] != "layer") | (table["holders"] > 1)]
    depth = int(table["layer"].max())
    ends = [depth * 1.2 + 0.5, depth * 1.45 + 0.5]
    ticks = range(1, depth + 1, max(1, depth // 4))
    with panels(4, 2.5, most=2, names=AGGREGATIONS) as (figure, places):
        for axes, situation in zip(places, SITUATIONS, strict=True):
            here = shown[shown["situation"] == situation]
            for index, name in enumerate(AGGREGATIONS):
                _line(axes, here[here["aggregation"] == name], ends, index, name)
            axes.axvline(depth * 1.1 + 0.5, color="0.8", linewidth=0.8)
            axes.set_xticks([*ticks, *ends], [*map(str, ticks), "class\nscores", "sub-\nmodels"])
            axes.set_yscale("symlog", linthresh=0.1)
            axes.set_yticks([0, 0.1, 1, 10, 100, 1000], ["0", "0.1", "1", "10", "100", "1000"])
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set(title=situation, ylim=(-0.02, 1000), xlim=(0.5, depth * 1.6 + 0.5))
            if not (here["part"] == "layer").any():
                axes.text(1, 1, "no layer has two holders,\nso none has a gap")
        for axes in places[::2]:
            axes.set_ylabel("gap, % of the round's change")
        for axes in places[2:]:
            axes.set_xlabel("layer, and end to end")
        legend(figure, places[:1])
    return figure


def over_rounds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean errors by round, situation, aggregation and part: of layers, over those with two or more holders."""
    shared = table[table["holders"] > 1]
    by = [*KEY, "round", "situation", "aggregation", "part"]
    return shared.groupby(by, sort=False)[["error", "error_of_change"]].mean().reset_index()


def draw_rounds(table: pd.DataFrame) -> Figure:
    """The gap of averaged factors (FedIT) over rounds, by situation: in shared layers, and in class scores."""
    shown = over_rounds(table).query("aggregation == 'FedIT'")
    parts = {"layer": "a layer's output", "scores": "class scores"}
    with panels(2, 2.6, names=SITUATIONS) as (figure, places):
        for axes, (part, title) in zip(places, parts.items(), strict=True):
            for index, situation in enumerate(SITUATIONS):
                rows = shown[(shown["part"] == part) & (shown["situation"] == situation)]
                curve(axes, rows.assign(gap=100 * rows["error_of_change"]), "round", "gap", index, situation)
            axes.set(title=title, xlabel="round", ylabel="gap, % of the round's change", ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(figure, places[1:])
    return figure


def _line(axes: Axes, rows: pd.DataFrame, ends: list[float], index: int, name: str) -> None:
    """One way to aggregate: a line over layers, and beyond it the two parts end to end."""
    own = look(index)
    style: dict[str, Any] = {"color": own.colour, "marker": own.marker}
    layers = 100 * rows.groupby("layer")["error_of_change"].mean()
    axes.plot(layers.index.astype(int), layers, linestyle=own.line, label=name, **style)
    whole = 100 * rows[rows["part"] != "layer"].groupby("part")["error_of_change"].mean()
    axes.plot(ends, whole[["scores", "sub-models"]], linestyle="", **style)


def leave(runs: Sequence[Run], out: str, rounds: Sequence[int] | None = None, images: int = IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, rounds, images)
    output.write(out, "additivity", table, draw(table))
    output.write(out, "additivity_rounds", over_rounds(table), draw_rounds(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer(
        "additivity",
        __doc__,
        leave,
        arguments,
        command.rounds("the first, middle and last kept"),
        command.images(IMAGES, "a domain"),
    )


if __name__ == "__main__":
    sys.exit(main())
