"""Run the experiments behind every table and figure on the embedded benchmark, and draw them.

    python -m analysis.study [--backbone glyph_vit] [--stages methods] [--processes 2] [SETTING=VALUE ...]

1. tune: every method gets the same grid of learning rates, judged by mean validation accuracy at seed 0;
2. methods: each at its best setting, three seeds, every seed with another assignment of depths to domains;
3. extreme: all clients at 1, 2, 3, 4 and 6 blocks, drawn uniformly and as prefixes;
4. convergence: FedRA's four draws on fleets of the same total depth, from equal clients to very unequal ones.

Every run is an ordinary run directory, measured on the test split; finished ones are kept, so that an interrupted study
goes on where it stopped. Runs share the machine's cores as whole processes. --stages names some of the last three,
and --methods what is compared in them; --tuned takes the settings that another study chose in place of the first.
SETTING=VALUE holds for every run and takes precedence over what a stage sets: `rounds=2 training.max_steps=1` makes a
small study, and `dataset=artwork` one of the other embedded data.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.runs.in_process import run_all
from analysis.study.album import fill
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.claim import SUMMARY
from fedra_ray.run_dir.command import quoted

METHODS = {
    "AllLarge": ["method=alllarge"],
    "FedRA": ["method=fedra"],
    "DepthFL": ["method=depthfl"],
    "InclusiveFL": ["method=inclusivefl"],
    "InclusiveFL, no distillation": ["method=inclusivefl", "method.options.momentum=0"],
    "Exclusive": ["method=exclusive"],
    "AllSmall": ["method=allsmall"],
    "Head only": ["method=headonly"],
}
GRID = [[f"training.lr={lr}", f"training.head_lr={lr}"] for lr in (0.01, 0.03, 0.1)]
TUNING_ROUNDS = 15
GRID_ROUNDS = 20  # of the stages after the methods
DEPTHS = {0: [12, 10, 8, 6, 4, 3], 1: [3, 4, 6, 8, 10, 12], 2: [8, 3, 12, 4, 6, 10]}
#: Of the same total depth; by seed, the domains change places as they do in DEPTHS.
FLEETS = {"equal": [8, 7, 7, 7, 7, 7], "mild": [9, 8, 7, 7, 6, 6], "paper": [12, 10, 8, 6, 4, 3]}
DRAWS = ("uniform", "covering", "balanced", "prefix")
SHALLOW = (1, 2, 3, 4, 6)
#: What a client of each of the paper's depths might be; it changes no result, and gives every round a simulated time.
DEVICES = {12: "workstation", 10: "workstation", 8: "edge_gpu", 6: "edge_gpu", 4: "laptop", 3: "phone"}
RECORDED = ["checkpoint.every=10", "checkpoint.keep=100"]

#: Overrides of every run of a stage, by key.
Runs = dict[str, list[str]]
#: The summary of every run, by the same keys.
Summaries = dict[str, dict[str, Any]]


def complete(runs: Runs, first: list[str], last: list[str]) -> Runs:
    """The runs with settings that hold unless their stage sets others, and with settings that hold in any case."""
    return {key: [*first, *own, *last] for key, own in runs.items()}


def tuning(out: Path, names: Sequence[str]) -> Runs:
    """Each of these methods with every setting of the grid, on the validation split."""
    return {
        f"{method}/{index}": [
            *METHODS[method],
            *setting,
            f"rounds={TUNING_ROUNDS}",
            "evaluation.split=validation",
            _at(_tuning_at(out, method, index)),
        ]
        for method in names
        for index, setting in enumerate(GRID)
    }


def tuned_in(study: Path, names: Sequence[str]) -> Summaries:
    """The summaries of another study's tuning.

    Raises:
        SettingError: if a run of it is missing.
    """
    found = {}
    for method in names:
        for index in range(len(GRID)):
            path = _tuning_at(study, method, index) / SUMMARY
            if not path.is_file():
                raise SettingError("--tuned", study, f"a study that tuned {method}, whose {path} is missing")
            found[f"{method}/{index}"] = json.loads(path.read_text(encoding="utf-8"))
    return found


def best_settings(summaries: Summaries, names: Sequence[str]) -> dict[str, list[str]]:
    """The setting of the grid with the best mean accuracy for each method, from the summaries of `tuning`."""
    best = {}
    for method in names:
        scores = [summaries[f"{method}/{index}"]["mean_accuracy"] for index in range(len(GRID))]
        best[method] = GRID[int(np.argmax(scores))]
    return best


def methods(out: Path, best: dict[str, list[str]]) -> Runs:
    """Every tuned method at its best setting, with every seed."""
    return {
        f"{method}/{seed}": [
            *METHODS[method],
            *best[method],
            *_fleet(seed, depths),
            "evaluation.every=10",
            f"fleet.devices={_listed(DEVICES[depth] for depth in depths)}",
            _at(out / "test" / f"{slug(method)}-{seed}"),
        ]
        for seed, depths in DEPTHS.items()
        for method in best
    }


def extreme(out: Path, best: dict[str, list[str]]) -> Runs:
    """Fleets in which nobody is deep, with every seed, and the head alone after as many rounds."""
    alone = {
        f"head alone/{seed}": [
            *METHODS["Head only"],
            *best["Head only"],
            *_fleet(seed, DEPTHS[seed]),
            f"rounds={GRID_ROUNDS}",
            _at(out / "extreme" / f"head-only-{seed}"),
        ]
        for seed in DEPTHS
    }
    return alone | {
        f"{draw} {depth}/{seed}": [
            *best["FedRA"],
            *_fleet(seed, [depth] * 6),
            f"method.options.draw={draw}",
            f"rounds={GRID_ROUNDS}",
            _at(out / "extreme" / f"{draw}-{depth}-{seed}"),
        ]
        for seed in DEPTHS
        for depth in SHALLOW
        for draw in ("uniform", "prefix")
    }


def convergence(out: Path, best: dict[str, list[str]]) -> Runs:
    """FedRA's draws on fleets of one total depth, with every seed."""
    return {
        f"{draw} {fleet}/{seed}": [
            *best["FedRA"],
            *_fleet(seed, _permuted(depths, seed)),
            f"rounds={GRID_ROUNDS}",
            "evaluation.every=5",
            f"method.options.draw={draw}",
            _at(out / "convergence" / f"{draw}-{fleet}-{seed}"),
        ]
        for seed in DEPTHS
        for fleet, depths in FLEETS.items()
        for draw in DRAWS
    }


#: The stages after tuning, and the methods that each compares in any case.
STAGES: dict[str, Callable[[Path, dict[str, list[str]]], Runs]] = {
    "methods": methods,
    "extreme": extreme,
    "convergence": convergence,
}
NEEDED = {"methods": set[str](), "extreme": {"FedRA", "Head only"}, "convergence": {"FedRA"}}


def compared(asked: Iterable[str], stages: Iterable[str]) -> list[str]:
    """The methods to tune: those that are asked for, and those that the stages need."""
    wanted = {*asked, *chain.from_iterable(NEEDED[stage] for stage in stages)}
    return [name for name in METHODS if name in wanted]


def results(summaries: Summaries, best: dict[str, list[str]]) -> pa.Table:
    """One row per method and seed: method, seed, setting, and test accuracy of every domain and `mean`, fractions."""
    rows = []
    for method in best:
        for seed in DEPTHS:
            summary = summaries[f"{method}/{seed}"]
            accuracy = {**summary["accuracy"], "mean": summary["mean_accuracy"]}
            rows.append({"method": method, "seed": seed, "setting": " ".join(best[method]), **accuracy})
    return pa.Table.from_pylist(rows)


def markdown(table: pa.Table) -> str:
    """Methods x domains in percent, mean and standard deviation over seeds."""
    frame = table.to_pandas().drop(columns=["seed", "setting"])
    return str(frame.groupby("method", sort=False).agg(_cell).to_markdown())


def write(summaries: Summaries, best: dict[str, list[str]], out: Path) -> None:
    """Write the results of the methods into a folder, and print them."""
    table = results(summaries, best)
    pq.write_table(table, out / "results.parquet")
    settings = "\n".join(f"- {method}: `{' '.join(setting)}`" for method, setting in best.items())
    text = f"{markdown(table)}\n\nChosen on validation:\n\n{settings}\n"
    (out / "results.md").write_text(text, encoding="utf-8")
    print(text)


def slug(method: str) -> str:
    """A method's name as part of a folder's."""
    return method.lower().replace(",", "").replace(" ", "-")


def _tuning_at(study: Path, method: str, index: int) -> Path:
    return study / "tune" / f"{slug(method)}-{index}"


def _at(run_dir: Path) -> str:
    return f"run_dir={quoted(str(run_dir))}"


def _fleet(seed: int, depths: list[int]) -> list[str]:
    return [f"seed={seed}", f"fleet.depths={_listed(depths)}"]


def _permuted(depths: list[int], seed: int) -> list[int]:
    """Depths in the places that the paper's have with this seed: the largest where 12 is, and so on."""
    return [sorted(depths, reverse=True)[sorted(DEPTHS[seed], reverse=True).index(place)] for place in DEPTHS[seed]]


def _listed(values: Iterable[object]) -> str:
    return f"[{','.join(map(str, values))}]"


def _cell(values: pd.Series) -> str:
    percent = 100 * values
    return f"{percent.mean():.1f} ± {percent.std():.1f}"


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="glyph_vit", help="one of conf/backbone (default: %(default)s)")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES, help="after tuning (default: all)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="(default: all)")
    parser.add_argument("--tuned", type=Path, metavar="STUDY", help="folder of a study whose learning rates are taken")
    parser.add_argument("--out", type=Path, help="folder of the study (default: studies/BACKBONE)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at once (default: all cores)")
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="settings of every run")
    arguments = parser.parse_args()
    names = compared(arguments.methods, arguments.stages)
    out = (arguments.out or Path("studies") / arguments.backbone).resolve()
    first = [f"backbone={arguments.backbone}"]
    if arguments.tuned:
        tuned = tuned_in(arguments.tuned, names)
    else:
        tuned = run_all(complete(tuning(out, names), first, arguments.overrides), arguments.processes, "tuning")
    best = best_settings(tuned, names)
    runs: Runs = {}
    for stage in arguments.stages:
        runs |= STAGES[stage](out, best)
    measured = run_all(complete(runs, [*first, *RECORDED], arguments.overrides), arguments.processes, "measuring")
    if "methods" in arguments.stages:
        write(measured, best, out)
    sys.exit(fill(out))


if __name__ == "__main__":
    sys.exit(exit_code(main))
