"""Compare the methods on the embedded benchmark: tune each alike on validation, then measure three seeds on test.

    python -m analysis.study [--backbone glyph_vit] [--out studies/glyph_vit] [--processes 2]

Every method gets the same grid of learning rates, judged by mean validation accuracy at seed 0 after a few rounds. The
best setting then runs once a seed, each seed with another assignment of depths to domains, and is measured on the test
split. Every run is an ordinary run directory; finished ones are kept, so an interrupted study goes on where it stopped.
Runs share the machine's cores as whole processes: their results are those of the Ray runtime, bit for bit.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from fedra_ray import results
from fedra_ray.cli import compose
from fedra_ray.config import ExperimentConfig
from fedra_ray.journal import Journal
from fedra_ray.run_dir import claim, prepare
from fedra_ray.storage import Folder

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
DEPTHS = {0: [12, 10, 8, 6, 4, 3], 1: [3, 4, 6, 8, 10, 12], 2: [8, 3, 12, 4, 6, 10]}


def run_here(overrides: list[str]) -> dict[str, Any]:
    """Run one experiment in this process, unless its directory holds it already; returns its summary."""
    return carry_out(compose("config", ExperimentConfig, overrides))


def carry_out(config: ExperimentConfig) -> dict[str, Any]:
    """The same, of a configuration."""
    from fedra_ray import experiment
    from fedra_ray.assembly import draw_up
    from fedra_ray.site import Site

    folder = Folder(config.run_dir)
    blueprint, weights = draw_up(config)
    finished = claim(folder, config)
    if finished is not None:
        return finished
    prepare(folder, config)
    for event in experiment.run(blueprint, Site(blueprint, weights), Journal(folder, config.checkpoint.keep)):
        if isinstance(event, experiment.Outcome):
            return results.write(folder, blueprint, event)
    raise RuntimeError(f"{folder}: the experiment ended without an outcome")


def run_all(runs: dict[str, list[str]], processes: int, title: str) -> dict[str, dict[str, Any]]:
    """Run experiments side by side; returns the summary of each, by its key."""
    context = multiprocessing.get_context("spawn")
    with Progress() as progress, ProcessPoolExecutor(processes, mp_context=context) as pool:
        bar = progress.add_task(title, total=len(runs))
        futures = {key: pool.submit(run_here, overrides) for key, overrides in runs.items()}
        for future in futures.values():
            future.add_done_callback(lambda _: progress.advance(bar))
        return {key: future.result() for key, future in futures.items()}


def tune(out: Path, common: list[str], processes: int) -> dict[str, list[str]]:
    """The best setting of the grid for every method, by mean validation accuracy at seed 0."""
    runs = {
        f"{method}/{index}": [
            *common,
            *METHODS[method],
            *setting,
            f"rounds={TUNING_ROUNDS}",
            "evaluation.split=validation",
            f"run_dir={out / 'tune' / f'{_slug(method)}-{index}'}",
        ]
        for method in METHODS
        for index, setting in enumerate(GRID)
    }
    summaries = run_all(runs, processes, "tuning")
    best = {}
    for method in METHODS:
        scores = [summaries[f"{method}/{index}"]["mean_accuracy"] for index in range(len(GRID))]
        best[method] = GRID[int(np.argmax(scores))]
    return best


def measure(out: Path, common: list[str], best: dict[str, list[str]], processes: int) -> pa.Table:
    """A row per method and seed: the setting, and test accuracy per domain and mean."""
    runs = {
        f"{method}/{seed}": [
            *common,
            *METHODS[method],
            *best[method],
            f"seed={seed}",
            f"fleet.depths={depths}".replace(" ", ""),
            f"run_dir={out / 'test' / f'{_slug(method)}-{seed}'}",
        ]
        for method in METHODS
        for seed, depths in DEPTHS.items()
    }
    summaries = run_all(runs, processes, "measuring")
    rows = []
    for key, summary in summaries.items():
        method, seed = key.rsplit("/", 1)
        accuracy = {**summary["accuracy"], "mean": summary["mean_accuracy"]}
        rows.append({"method": method, "seed": int(seed), "setting": " ".join(best[method]), **accuracy})
    return pa.Table.from_pylist(rows)


def markdown(table: pa.Table) -> str:
    """Methods x domains in percent, mean and standard deviation over seeds."""
    rows = table.to_pylist()
    columns = [name for name in table.column_names if name not in ("method", "seed", "setting")]
    lines = ["| method | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for method in METHODS:
        cells = (_cell(row[column] for row in rows if row["method"] == method) for column in columns)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Iterable[float]) -> str:
    percent = 100 * np.array(list(values))
    return f"{percent.mean():.1f} ± {percent.std(ddof=1):.1f}"


def _slug(method: str) -> str:
    return method.lower().replace(",", "").replace(" ", "-")


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(prog="python -m analysis.study", description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="glyph_vit", help="one of conf/backbone (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the study (default: studies/BACKBONE)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="runs at once (default: all cores)")
    parser.add_argument("overrides", nargs="*", help="settings for every run, for example rounds=20")
    arguments = parser.parse_args()
    out = (arguments.out or Path("studies") / arguments.backbone).resolve()
    common = [f"backbone={arguments.backbone}", *arguments.overrides]
    best = tune(out, common, arguments.processes)
    table = measure(out, common, best, arguments.processes)
    pq.write_table(table, out / "results.parquet")
    settings = "\n".join(f"- {method}: `{' '.join(setting)}`" for method, setting in best.items())
    text = f"{markdown(table)}\n\nChosen on validation:\n\n{settings}\n"
    (out / "results.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
