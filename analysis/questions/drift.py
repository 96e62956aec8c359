"""How near a run is to rest, and how far its clients pull apart, round by round.

    python -m analysis.questions.drift RUN_DIR... [--out FOLDER] [--rounds 20 40] [--images 64]

From a kept global adapter w the clients of the next round are trained once more. Let delta_k be client k's change of a
segment (a layer's LoRA factors, or a head), and delta the mean over the n clients that hold it, weighted as the run
weights them. Where n >= 2,

    drift  = 1/n sum_k ||delta_k - delta|| / ||delta||
    cosine = mean over pairs of holders j < k of <delta_j, delta_k> / (||delta_j|| ||delta_k||)

and the drift of a round is the mean over layers weighted by n, its cosine that over layers weighted by the number of
pairs; the head is given beside them. What one client alone holds has nothing to drift from and is left out. Zero drift
and a cosine of 1 mean that all holders made the same change. (SCAFFOLD, arXiv 1910.06378, section 3, is where drift is
named; with layers held by some, the mean can only be over the holders.)

The global loss is the cross entropy of the global model's prediction on a fixed sample of training images, equally many
of every domain; its gradient is with respect to everything that is trained, LoRA factors and heads apart. At round 0
that of LoRA is zero, because heads begin at zero and pass nothing back.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.nn import functional

from analysis import command
from analysis.plots import output
from analysis.plots.lines import by_label, curve, legend, panels
from analysis.runs.factors import Array
from analysis.runs.groups import collect
from analysis.runs.images import batches
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import few_rounds
from analysis.runs.tuned import Tuned
from fedra_ray.federation.state import Vector

IMAGES = 64
NAN = float("nan")


def drift(changes: Array, shares: Array) -> float:
    """Mean distance of the holders' changes (holders, values) from their mean, relative to the norm of that mean.

    Args:
        changes: Changes of at least two holders (holders, values).
        shares: Shares of the holders in the mean (holders,); the sum is 1.

    Returns:
        Not a number if the mean is zero.
    """
    mean = shares @ changes
    size = np.linalg.norm(mean)
    return float(np.linalg.norm(changes - mean, axis=1).mean() / size) if size else NAN


def cosine(changes: Array) -> float:
    """Mean cosine similarity over all pairs of changes (holders, values); not a number if one of them is zero."""
    sizes = np.linalg.norm(changes, axis=1)
    if not sizes.all():
        return NAN
    angles = (changes / sizes[:, None]) @ (changes / sizes[:, None]).T
    return float(np.mean([angles[pair] for pair in combinations(range(len(changes)), 2)]))


def pulls(tuned: Tuned) -> pd.DataFrame:
    """One row per segment that two or more clients hold: is_head, holders, pairs, drift and cosine."""
    layout = tuned.replay.layout
    rows = []
    held = [layout.held(update.task.layers, update.task.sent) for update in tuned.updates]
    for index, segment in enumerate(layout.segments):
        holders = [position for position, segments in enumerate(held) if index in segments]
        if len(holders) > 1:
            changes = np.array([tuned.clients[position][segment] for position in holders], dtype=np.float64)
            changes -= tuned.values[segment]
            shares = tuned.shares[holders] / tuned.shares[holders].sum()
            count = {"holders": len(holders), "pairs": len(holders) * (len(holders) - 1) // 2}
            apart = {"drift": drift(changes, shares), "cosine": cosine(changes)}
            rows.append({"is_head": layout.is_head(index), **count, **apart})
    return pd.DataFrame(rows, columns=["is_head", "holders", "pairs", "drift", "cosine"]).astype({"is_head": bool})


def gradient(replay: Replay, values: Vector, images: int) -> dict[str, float]:
    """The global loss, and the norms of its gradient with respect to LoRA factors and heads.

    Args:
        replay: The run; its method predicts.
        values: A global adapter, flat.
        images: The most images of every domain's training split.
    """
    model = replay.model
    model.load(values, range(len(replay.layout.segments)))
    sample = list(batches(replay, "train", images))
    count = sum(len(labels) for _, _, labels in sample)
    total = 0.0
    for _, batch, labels in sample:
        loss = functional.cross_entropy(replay.method.predict(model, batch), labels, reduction="sum") / count
        loss.backward()
        total += loss.item()
    lora, heads = ([part.grad.numpy() for part in parts] for parts in model.trained())
    norms = (float(np.linalg.norm(np.concatenate(parts))) for parts in (lora, heads))
    return {"loss": total, **dict(zip(("gradient_lora", "gradient_heads"), norms, strict=True))}


def analyse(runs: Sequence[Run], rounds: Sequence[int] | None = None, images: int = IMAGES) -> pd.DataFrame:
    """One row per run and round.

    Args:
        runs: Finished runs that keep restart points.
        rounds: Kept rounds, besides 0; None takes the first, the middle and the last kept.
        images: The most images of every domain, for the gradient.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, loss, gradient_lora, gradient_heads, drift, cosine,
        drift_heads and cosine_heads; the last four are of the round that would follow, and not a number where no two
        clients share a layer.

    Raises:
        SettingError: for a round that is not kept, or a run whose data or backbone are not where they were.
    """
    return collect(runs, lambda run: _rows(run, rounds, images))


def _rows(run: Run, rounds: Sequence[int] | None, images: int) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    for number in few_rounds(run, rounds):
        values = replay.values(number)
        tuned = Tuned.of(replay, values, replay.train(replay.tasks(number + 1), number))
        pulled = pulls(tuned)
        means: dict[str, float] = {}
        for suffix, rows in (("", pulled[~pulled["is_head"]]), ("_heads", pulled[pulled["is_head"]])):
            means[f"drift{suffix}"] = _mean(rows["drift"], rows["holders"])
            means[f"cosine{suffix}"] = _mean(rows["cosine"], rows["pairs"])
        yield {"round": number, **gradient(replay, values, images), **means}


def _mean(values: "pd.Series[float]", weights: "pd.Series[float]") -> float:
    """The weighted mean of those values that are numbers; not a number if there is none."""
    known = values.notna()
    return float(np.average(values[known], weights=weights[known])) if known.any() else NAN


def draw(table: pd.DataFrame) -> Figure:
    """Gradient norm, drift and cosine of layers over rounds: mean and range over the runs of each label."""
    titles = {"gradient_lora": "gradient of LoRA, norm", "drift": "drift of clients", "cosine": "cosine of clients"}
    with panels(len(titles), 2.5, names=table["label"]) as (figure, places):
        for axes, (name, title) in zip(places, titles.items(), strict=True):
            for index, label, rows in by_label(table.dropna(subset=name)):
                curve(axes, rows, "round", name, index, label)
            axes.set(title=title, xlabel="round")
            axes.set_ylim(bottom=min(0, 1.1 * table[name].min()))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(figure, places)
    return figure


def leave(runs: Sequence[Run], out: str, rounds: Sequence[int] | None = None, images: int = IMAGES) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, rounds, images)
    output.write(out, "drift", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer(
        "drift",
        __doc__,
        leave,
        arguments,
        command.rounds("0 and the first, middle and last"),
        command.images(IMAGES, "a domain"),
    )


if __name__ == "__main__":
    sys.exit(main())
