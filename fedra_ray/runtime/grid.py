"""The grid of a sweep: its runs, how they share the cluster, and the one table of their results."""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.table import Column, Table

from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import to_parquet

RESULTS = "results.parquet"
_MOST_AT_ONCE = 8  # servers take a tenth of a CPU each


@dataclass(frozen=True)
class GridRun:
    """One run of a grid: the values of the settings that vary, and its whole configuration."""

    varied: Mapping[str, str]
    config: ExperimentConfig

    @property
    def name(self) -> str:
        """The name of its folder: method=fedra,seed=0."""
        return run_name(self.varied)


@dataclass(frozen=True)
class Grid:
    """All that a sweep runs.

    Attributes:
        runs: At least one.
        folder: The folder of the sweep, above those of the runs.
        parallel: How many runs go on at once; None to go by the room in the cluster.
    """

    runs: list[GridRun]
    folder: str
    parallel: int | None = None


@dataclass(frozen=True)
class Result:
    """How a run ended: its summary, or the error it failed with."""

    run: GridRun
    summary: Mapping[str, Any] | None
    error: str | None = None


def run_name(varied: Mapping[str, str]) -> str:
    """The name of the run with these values, fit for a folder."""
    return ",".join(f"{setting}={value}" for setting, value in varied.items()).replace("/", "_") or "run"


def shares(runs: int, slots: int, parallel: int | None) -> tuple[int, int]:
    """How many runs go on at once, and how many client actors each of them may have, so that all have equally many.

    Args:
        runs: Runs that are left to do.
        slots: Client actors that the cluster has room for, or is to make room for.
        parallel: How many runs the user wants at once; None to go by the slots.
    """
    at_once = max(1, min(runs, parallel or min(slots, _MOST_AT_ONCE)))
    return at_once, max(1, slots // at_once)


def write(folder: Folder, results: list[Result]) -> None:
    """Write results.parquet: one row per run, with the settings that vary, accuracies from 0 to 1 and seconds."""
    rows = []
    for result in results:
        summary = result.summary or {}
        accuracy = {f"accuracy.{domain}": value for domain, value in summary.get("accuracy", {}).items()}
        rows.append(
            {
                "run": result.run.name,
                **result.run.varied,
                "status": "failed" if result.summary is None else "finished",
                "error": result.error,
                "mean_accuracy": summary.get("mean_accuracy"),
                **accuracy,
                "seconds": summary.get("seconds"),
            }
        )
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    folder.write(RESULTS, to_parquet(table))


def tabulate(results: list[Result]) -> Table:
    """Accuracy in percent by the settings that vary: mean and sample standard deviation over seeds."""
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        settings = {setting: value for setting, value in result.run.varied.items() if setting != "seed"}
        finished = groups[run_name(settings)]
        if result.summary is not None:
            finished.append(result.summary)
    title = "accuracy in percent, mean ± standard deviation over seeds"
    table = Table(Column("run", no_wrap=True), "seeds", "mean of domains", "worst domain", title=title)
    for name, summaries in groups.items():
        if not summaries:
            table.add_row(name, "0", "failed", "")
            continue
        domains = {domain: [run["accuracy"][domain] for run in summaries] for domain in summaries[0]["accuracy"]}
        worst = min(domains, key=lambda domain: statistics.fmean(domains[domain]))
        mean = _percent([run["mean_accuracy"] for run in summaries])
        table.add_row(name, str(len(summaries)), mean, f"{_percent(domains[worst])} ({worst})")
    return table


def _percent(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
