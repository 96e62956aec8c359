"""How much every layer's LoRA learnt, and in how many directions.

    python -m analysis.questions.updates RUN_DIR... [--out FOLDER] [--rounds 20 40]

What LoRA adds to a frozen weight is (alpha / rank) B A. It is zero at round 0, where B is, so its Frobenius norm is how
far the layer has come. Its effective rank (Roy and Vetterli, EUSIPCO 2007) is how many directions that took: between 1
and the rank. FedRA holds that layers drawn at random learn alike; a layer that few clients train, or clients of one
domain, stays behind.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import command
from analysis.plots import output
from analysis.plots.lines import by_label, curve, last_rounds, legend, panels
from analysis.runs.aggregates import factors_at
from analysis.runs.factors import decompose, effective_rank
from analysis.runs.groups import KEY, collect
from analysis.runs.reading import Run
from analysis.runs.replay import Replay
from analysis.runs.selection import every_round


def analyse(runs: Sequence[Run], rounds: Sequence[int] | None = None) -> pd.DataFrame:
    """One row per run, round, layer and target.

    Args:
        runs: Finished runs that keep restart points.
        rounds: Kept rounds, or 0; None takes all of these.

    Returns:
        The columns of `analysis.runs.groups.KEY`, round, layer (from 1), target (path of the module in the block), norm
        (Frobenius) and effective_rank (not a number where nothing was learnt).

    Raises:
        SettingError: for a round that is not kept, or a run whose data or backbone are not where they were.
    """
    return collect(runs, lambda run: _rows(run, rounds))


def of_layers(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run, round and layer: norm of its targets' updates together, mean of their effective ranks."""
    grouped = table.groupby([*KEY, "round", "layer"], sort=False)
    layers = grouped.agg(
        norm=("norm", lambda norms: np.sqrt((norms**2).sum())), effective_rank=("effective_rank", "mean")
    )
    return layers.reset_index()


def _rows(run: Run, rounds: Sequence[int] | None) -> Iterator[dict[str, Any]]:
    replay = Replay(run)
    lora = run.config.lora
    for number in every_round(run, rounds):
        values = replay.values(number)
        for layer, target in product(range(run.num_layers), replay.blueprint.targets):
            _, singular, _ = decompose(factors_at(replay, values, f"blocks.{layer}.{target}"))
            norm = lora.alpha / lora.rank * float(np.linalg.norm(singular))
            learnt = {"norm": norm, "effective_rank": effective_rank(singular)}
            yield {"round": number, "layer": layer + 1, "target": target, **learnt}


def draw(table: pd.DataFrame) -> Figure:
    """Norm and effective rank over layers by label, after the last round of the table."""
    with panels(2, 2.6, names=table["label"]) as (figure, (norms, ranks)):
        for index, label, rows in by_label(of_layers(last_rounds(table))):
            curve(norms, rows, "layer", "norm", index, label)
            curve(ranks, rows, "layer", "effective_rank", index)
        norms.set(title="LoRA update", xlabel="layer", ylabel="Frobenius norm", ylim=(0, None))
        ranks.set(title="its effective rank, mean over targets", xlabel="layer", ylabel="directions", ylim=(0, None))
        legend(figure, [norms])
    return figure


def leave(runs: Sequence[Run], out: str, rounds: Sequence[int] | None = None) -> None:
    """Write the tables and figures of these runs into a folder or URI."""
    table = analyse(runs, rounds)
    output.write(out, "updates", table, draw(table))


def main(arguments: list[str] | None = None) -> int:
    """Answer the question for the runs that the command line names; returns the exit code of `command.answer`."""
    return command.answer("updates", __doc__, leave, arguments, command.rounds("0 and all"))


if __name__ == "__main__":
    sys.exit(main())
