"""Measures how far seeds of one method lie apart, by ordinary federated runs: what three of them can tell.

    python -m analysis.properties.spread [--dataset artwork] [--backbone artwork_vit] [--methods fedra] [--out spread]

Everything but the seed stays: what it draws is cohorts, allocations, batches and first values. Finished runs are kept,
so that the command goes on where it was stopped; SETTING=VALUE holds for every run.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from analysis.runs.in_process import run_all
from fedra_ray.cli.ending import exit_code
from fedra_ray.run_dir.command import quoted

WANTED = 1.5  # points, at most


def runs(dataset: str, backbone: str, methods: Sequence[str], seeds: Sequence[int]) -> dict[str, list[str]]:
    """Overrides of every run, by its directory."""
    return {
        f"{dataset}-{backbone}/{method}-{seed}": [
            f"dataset={dataset}",
            f"backbone={backbone}",
            f"method={method}",
            f"seed={seed}",
        ]
        for method in methods
        for seed in seeds
    }


def table(summaries: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per data set, backbone and method: mean test accuracy and its standard deviation, in percent."""
    accuracies: dict[str, list[float]] = {}
    for key, summary in summaries.items():
        accuracies.setdefault(key.rpartition("-")[0], []).append(100 * summary["mean_accuracy"])
    rows = [
        {"runs": name, "seeds": len(own), "mean": np.mean(own), "spread": np.std(own, ddof=1), "wanted": f"< {WANTED}"}
        for name, own in accuracies.items()
    ]
    return pd.DataFrame(rows).round(2)


def leave(arguments: argparse.Namespace) -> None:
    """Run what is missing and write the table."""
    out = arguments.out.resolve()
    wanted = {
        key: [*own, *arguments.overrides, f"run_dir={quoted(str(out / key))}"]
        for key, own in runs(arguments.dataset, arguments.backbone, arguments.methods, arguments.seeds).items()
    }
    summaries = run_all(wanted, arguments.processes, "seeds")
    rows = table(summaries)
    rows.to_csv(out / "spread.csv", index=False)
    Console().print(rows.to_markdown(index=False), soft_wrap=True)


def main(given: list[str] | None = None) -> int:
    """Measure what the command line names; returns the exit code, as of the commands of `fedra_ray`."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.properties.spread",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", default="artwork", help="of conf/dataset")
    parser.add_argument("--backbone", default="artwork_vit", help="of conf/backbone")
    parser.add_argument("--methods", nargs="+", default=["fedra"], help="of conf/method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1, help="runs at once")
    parser.add_argument("--out", type=Path, default=Path("spread"), help="folder to write")
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="settings of every run")
    return exit_code(lambda: leave(parser.parse_args(given)))


if __name__ == "__main__":
    sys.exit(main())
