"""The table of the study: contenders x fleets, and what a client of each had."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from statistics import mean, stdev

import pandas as pd

from analysis.equal_memory.contenders import UNBOUNDED
from analysis.runs.costs import mean_flops, regime_and_memory
from analysis.runs.intervals import half_width
from analysis.runs.reading import Run
from fedra_ray.cost.law import MEGABYTE

SHOWN = "extreme4"
"""The fleet for which the table says what a client trains and needs."""

BASE = "Partial"
"""The contender that the others are compared with, seed by seed."""

_LEAD = f"Lead over {BASE} in points, paired over seeds, with the half width of its 95 % interval (t):"
_NOTES = (
    "Test accuracy in percent: mean over domains, then mean ± standard deviation over seeds (their number, unless 3)."
    " The rest is of a client of "
    + SHOWN
    + ": regime, blocks that it trains, peak memory, and arithmetic and traffic both"
    " ways of a round.",
    "(ceiling): whatever the memory of its clients.",
    "†: below a head alone on the same fleet. ‡: the loss of the last round is not below that of the first.",
)


def report(runs: Mapping[str, Sequence[Run]], names: Mapping[str, str], alike: Collection[str]) -> str:
    """The finished runs as a table in Markdown, with notes.

    Args:
        runs: By fleet; the folder of each is called CONTENDER-SEED.
        names: The name of every contender, by what its folders are called.
        alike: Contenders whose runs hold for every fleet; they are in the first one.
    """
    cells = {(fleet, name): [] for fleet in runs for name in names.values()}  # type: dict[tuple[str, str], list[Run]]
    for fleet, ended in runs.items():
        for run in ended:
            cells[fleet, names[PurePosixPath(str(run.folder)).name.rpartition("-")[0]]].append(run)
    first = next(iter(runs))
    for name in alike:
        cells |= {(fleet, name): cells[first, name] for fleet in runs}
    rows = []
    for name in names.values():
        found = {fleet: cells[fleet, name] for fleet in runs}
        if any(found.values()):
            scores = {fleet: _score(own, cells.get((fleet, "Head only"), [])) for fleet, own in found.items()}
            label = f"{name} (ceiling)" if name in UNBOUNDED else name
            rows.append({"method": label, **scores, **_needs(found.get(SHOWN, []))})
    table = pd.DataFrame(rows).fillna("").to_markdown(index=False)
    leads = {fleet: _leads({name: cells[fleet, name] for name in names.values()}) for fleet in runs}
    ahead = pd.DataFrame(leads, index=list(names.values())).dropna(how="all").fillna("")
    paired = () if ahead.empty else (_LEAD, ahead.rename_axis("method").to_markdown())
    return "\n\n".join((table, *_NOTES, *paired)) + "\n"


def _leads(found: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """The leads of a fleet's contenders over the one that is told of, by the seeds that both have."""
    by_seed = {
        name: pd.Series({run.config.seed: 100 * run.summary["mean_accuracy"] for run in runs}, dtype=float)
        for name, runs in found.items()
    }
    base = by_seed.pop(BASE, pd.Series(dtype=float))
    differences = {name: (own - base).dropna().to_numpy() for name, own in by_seed.items()}
    return {name: f"{each.mean():+.1f} ± {half_width(each):.1f}" for name, each in differences.items() if len(each) > 1}


def _score(runs: Sequence[Run], heads: Sequence[Run]) -> str:
    """Accuracy of some runs that differ in their seed, in percent, with what is to be said of it."""
    if not runs:
        return ""
    values = [100 * run.summary["mean_accuracy"] for run in runs]
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    count = f" ({len(values)})" if len(values) != 3 else ""
    below = bool(heads) and mean(values) < mean(100 * head.summary["mean_accuracy"] for head in heads)
    losses = [run.table("rounds")["train_loss"] for run in runs]
    idle = any(loss.iloc[-1] >= loss.iloc[0] for loss in losses)
    return f"{mean(values):.1f}{spread}{count}{' †' if below else ''}{' ‡' if idle else ''}"


def _needs(runs: Sequence[Run]) -> dict[str, str]:
    """Regime, trained blocks, peak memory, arithmetic and traffic of the clients of a run."""
    if not runs:
        return {}
    regime, memory = regime_and_memory(runs[0])
    trained = runs[0].table("clients")["layers"].map(len)
    clients = runs[0].table("clients")
    traffic = (clients["bytes_up"] + clients["bytes_down"]).mean() / MEGABYTE
    blocks = f"{trained.min()}" if trained.min() == trained.max() else f"{trained.min()}-{trained.max()}"
    flops = f"{mean_flops(runs[0]) / 1e9:.1f}"
    return {"regime": regime, "blocks": blocks, "MB": f"{memory:.1f}", "GFLOP": flops, "MB sent": f"{traffic:.2f}"}
