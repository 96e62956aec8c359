"""The grid of a sweep: its runs, how they share the cluster, and the one table of their results."""

import dataclasses
import hashlib
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from rich.markup import escape
from rich.table import Column, Table

from fedra_ray.config.devices import with_profiles
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.claim import FREE, flat
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.parts import to_parquet
from fedra_ray.run_dir.reading import read_files

RESULTS = "results.parquet"
_LONGEST = 200  # bytes of a name; file systems have room for 255
_KEPT = 40  # letters of a longer one, of up to four bytes each
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
    """The name of the run with these values, fit for a folder; of a long one the beginning, and a hash of all."""
    name = ",".join(f"{setting}={value}" for setting, value in varied.items()).replace("/", "_") or "run"
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name[:_KEPT]}...{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def at_once(runs: int, slots: int, parallel: int | None) -> int:
    """How many runs go on at once; at least one.

    Args:
        runs: Runs that are left to do.
        slots: Client actors that the cluster has room for, or is to make room for.
        parallel: How many runs the user wants at once; None to go by the slots.
    """
    return max(1, min(runs, parallel or min(slots, _MOST_AT_ONCE)))


def share(runs: int, slots: int, tiers: int) -> int:
    """How many client actors each of the runs that go on may have, so that all have equally many.

    Args:
        runs: Runs that go on.
        slots: Client actors for all of them.
        tiers: The least that a run works with: one for every label of nodes, at least one.
    """
    return max(1, tiers, slots // max(1, runs))


def summary_of(config: ExperimentConfig) -> dict[str, Any] | None:
    """The summary of a run that has finished in its folder with this configuration, told from the folder alone.

    None for any other folder: what is the matter with it is found out where the run is checked.
    """
    try:
        files = read_files(Folder(config.run_dir))
    except SettingError:
        return None
    wanted = dict(flat(dataclasses.asdict(dataclasses.replace(config, fleet=with_profiles(config.fleet)))))
    free = FREE if config.fleet.memory_mb is None else (*FREE, "fleet.depths")  # which follow from budgets of memory
    for name in wanted | files.settings:
        if not name.startswith(free) and wanted.get(name) != files.settings.get(name):
            return None
    return files.summary


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
                **{f"mean_{name}": value for name, value in summary.get("mean_metrics", {}).items()},
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
            table.add_row(escape(name), "0", "failed", "")
            continue
        domains = {domain: [run["accuracy"][domain] for run in summaries] for domain in summaries[0]["accuracy"]}
        worst = min(domains, key=lambda domain: statistics.fmean(domains[domain]))
        mean = _percent([run["mean_accuracy"] for run in summaries])
        table.add_row(escape(name), str(len(summaries)), mean, f"{_percent(domains[worst])} ({escape(worst)})")
    return table


def _percent(values: list[float]) -> str:
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"
