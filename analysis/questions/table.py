"""Print the accuracy of finished runs beside what papers report for the same method.

    python -m analysis.questions.table RUN_DIR... [--format markdown] [--dataset domainnet --backbone vit_b16]

Runs that differ only in their seed, and in which domain gets which of the depths, are averaged. A published row follows
where the paper's data set, backbone, method (with its `submodel` and `lora_aggregation`) and fleet are the run's; its
difference is the measured mean minus its own. `regime` says how clients hold the blocks that they do not train, and
`memory, MB` what the one that needs most has to have at the peak of its training (analysis/runs/costs.py). Beside other
optimisers than plain ones nothing published stands. An empty place is something that the paper, or a run of an older
version, does not state. Runs that are not finished are left out, and stderr says which.

A file of analysis/published is a paper: its `fleets` (the clients' depths) and its `tables` of `cells`, in percent. In
a cell, `accuracy` is per domain, where known, and null stands for what is not stated: the `backbone`, the `setting`
(name of the partition), the `rounds` and `runs`; or for a `fleet` on which the method does not depend. Its `submodel`
is `absent` and its `lora_aggregation` is `fedit` unless it says otherwise.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis import command
from analysis.plots.formats import FORMATS, MEAN, Row, Table
from analysis.runs import reading as runs
from analysis.runs.costs import regime_and_memory
from fedra_ray.cli.ending import exit_code
from fedra_ray.config.errors import SettingError
from fedra_ray.config.labels import method_label
from fedra_ray.run_dir.claim import SETTING, shaping
from fedra_ray.run_dir.folder import Folder
from fedra_ray.run_dir.reading import apart

PUBLISHED = Path(__file__).parents[1] / "published"
#: Settings that have a column of their own.
_SHOWN = ("fleet.depths", "partition.name", "partition.alpha", "rounds")
#: What may be put around a published method: the values of settings, and what an older run without them had.
_AROUND = {"submodel": "absent", "lora_aggregation": "fedit", "client_optimizer": "sgd", "server_optimizer": "fedavg"}
#: Streamed blocks change what a round costs, and not its result.
_SAME_RESULT = {"streamed": "frozen", "recomputed": "frozen"}


@dataclass(frozen=True)
class Cell:
    """A published result, in percent; the module's docstring explains what None means."""

    source: str
    dataset: str
    backbone: str | None
    method: str
    fleet: str | None
    setting: str | None
    rounds: int | None
    runs: int | None
    accuracy: dict[str, float]
    mean: float
    submodel: str = _AROUND["submodel"]
    lora_aggregation: str = _AROUND["lora_aggregation"]

    @property
    def around(self) -> dict[str, str]:
        """What is put around the method, by section."""
        return _AROUND | {"submodel": self.submodel, "lora_aggregation": self.lora_aggregation}

    @property
    def label(self) -> str:
        """The method's name, with those of what is put around it."""
        return " + ".join([self.method, *(name for name in self.around.values() if name not in _AROUND.values())])


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Its directory.
        summary: Its summary.json.
        settings: Those that shape its result, by dotted name; depths that stay with a domain from the largest down.
        permuted: Whether the depths of the run itself are in another order.
    """

    folder: Folder
    summary: dict[str, Any]
    settings: dict[str, Any]
    permuted: bool


def read_published() -> tuple[list[Cell], dict[str, list[int]]]:
    """Every published cell, and the depths of the fleets that cells name."""
    cells: list[Cell] = []
    fleets: dict[str, list[int]] = {}
    for path in sorted(PUBLISHED.glob("*.yaml")):
        paper = yaml.safe_load(path.read_text(encoding="utf-8"))
        fleets.update(paper["fleets"])
        reference = f"arXiv {paper['arxiv']}" if paper["arxiv"] else paper["venue"]
        for table in paper["tables"]:
            common = {name: table[name] for name in ("setting", "rounds", "runs")}
            common["source"] = f"{paper['paper']} ({reference}), {table['table']}"
            cells += [Cell(**common, **cell) for cell in table["cells"]]
    return cells, fleets


def read_run(where: str | Path) -> Run:
    """The run in a directory, a path or a URI.

    Raises:
        SettingError: if it is not the directory of a finished run.
    """
    run = runs.measured(where)
    settings = shaping(run.settings)
    if "fleet.depths" not in settings:
        raise SettingError(SETTING, str(run.folder), "its config.yaml does not state fleet.depths")
    depths = settings["fleet.depths"]
    largest_first = depths if settings.get("fleet.dynamic") else sorted(depths, reverse=True)
    settings |= {"domains": sorted(run.summary["accuracy"]), "fleet.depths": largest_first}
    return Run(run.folder, run.summary, settings, depths != largest_first)


def tabulate(measured: Iterable[Run], dataset: str | None = None, backbone: str | None = None) -> list[Table]:
    """A table for every data set, backbone and split.

    Args:
        measured: The runs.
        dataset: Name of the data set whose published cells stand beside the runs; None takes the runs' own.
        backbone: Name of their backbone; None takes the runs' own.

    Raises:
        SettingError: if two of the runs are the same, seed included.
    """
    cells, fleets = read_published()
    panels: dict[tuple[str, str, str], dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in measured:
        panel = run.summary["dataset"], run.summary["backbone"], run.summary["split"]
        panels[panel][json.dumps(run.settings, sort_keys=True)].append(run)
    tables = []
    for (own_dataset, own_backbone, split), by_settings in panels.items():
        wanted = (dataset or own_dataset, backbone or own_backbone)
        comparable = [cell for cell in cells if cell.dataset == wanted[0] and cell.backbone in (None, wanted[1])]
        beside = comparable if split == "test" else []
        groups = list(by_settings.values())
        rows = [row for group in groups for row in _rows(group, groups, beside, fleets)]
        columns = dict.fromkeys(domain for group in groups for domain in group[0].summary["accuracy"])
        title = f"{own_dataset}, {own_backbone}: {split} accuracy in percent (± standard deviation over seeds)"
        if wanted != (own_dataset, own_backbone):
            title += f", beside published figures for {wanted[0]}, {wanted[1]}"
        tables.append(Table(title, [*columns, MEAN], rows))
    return tables


def _rows(group: list[Run], groups: list[list[Run]], cells: list[Cell], fleets: dict[str, list[int]]) -> list[Row]:
    """The mean over a group of runs, then the cells to compare it with."""
    _check_seeds(group)
    summary, settings = group[0].summary, group[0].settings
    fleet = _fleet(settings, fleets)
    values = [run.summary["accuracy"] | {MEAN: run.summary["mean_accuracy"]} for run in group]
    regime, memory = _memory(group[0])
    percent = {name: [100 * value[name] for value in values] for name in values[0]}
    measured = Row(
        dataset=summary["dataset"],
        backbone=summary["backbone"],
        split=summary["split"],
        method=_label(group[0], [other[0] for other in groups]),
        fleet=f"{fleet}, permuted" if any(run.permuted for run in group) else fleet,
        partition=_partition(settings),
        rounds=summary["rounds"],
        runs=len(group),
        accuracy={name: statistics.mean(of_runs) for name, of_runs in percent.items()},
        deviation={name: statistics.stdev(of_runs) for name, of_runs in percent.items() if len(of_runs) > 1},
        regime=regime,
        memory_mb=memory,
    )
    same = [cell for cell in cells if cell.method == summary["method"] and cell.fleet in (None, fleet)]
    same = [cell for cell in same if cell.setting in (None, settings.get("partition.name"))]
    same = [cell for cell in same if cell.around == _around(settings)]
    return [measured, *(_published(cell, measured.accuracy[MEAN]) for cell in same)]


def _memory(run: Run) -> tuple[str, float | None]:
    """The regime, and the peak of a client's memory in megabytes; nothing of a run that has not kept what it takes."""
    try:
        return regime_and_memory(runs.read_run(str(run.folder)))
    except SettingError:
        return "", None


def _published(cell: Cell, measured: float) -> Row:
    """A cell as a row; without a difference if its backbone is not stated, and so may not be the run's."""
    return Row(
        dataset=cell.dataset,
        backbone=cell.backbone or "",
        split="test",
        method=cell.label,
        fleet=cell.fleet or "any",
        partition=cell.setting or "",
        rounds=cell.rounds,
        runs=cell.runs,
        accuracy=cell.accuracy | {MEAN: cell.mean},
        difference=measured - cell.mean if cell.backbone else None,
        source=cell.source if cell.backbone else f"{cell.source}, backbone not stated",
    )


def _check_seeds(group: list[Run]) -> None:
    first: dict[int, Run] = {}
    for run in group:
        other = first.setdefault(run.summary["seed"], run)
        if other is not run:
            raise SettingError(SETTING, str(run.folder), f"is the same run as {other.folder}, seed included; name one")


def _label(run: Run, rivals: list[Run]) -> str:
    """The method's name, with the settings that tell its rows apart."""
    label = method_label(run.settings)
    same = [rival.settings for rival in rivals if method_label(rival.settings) == label]
    return " ".join([label, *apart(run.settings, same, _SHOWN)])


def _fleet(settings: dict[str, Any], fleets: dict[str, list[int]]) -> str:
    """The name of the fleet with the same shares of depths, else the depths themselves."""
    if settings.get("fleet.memory_mb"):
        return "by memory"
    depths = settings["fleet.depths"]
    named = (name for name, others in fleets.items() if _shares(others) == _shares(depths))
    fleet = next(named, " ".join(map(str, depths)))
    return f"{fleet}, dynamic" if settings.get("fleet.dynamic") else fleet


def _around(settings: dict[str, Any]) -> dict[str, str]:
    names = {section: settings.get(f"{section}.name", plain) for section, plain in _AROUND.items()}
    return {section: _SAME_RESULT.get(name, name) for section, name in names.items()}


def _partition(settings: dict[str, Any]) -> str:
    name = settings.get("partition.name", "")
    return f"{name}, alpha {settings['partition.alpha']:g}" if settings.get("partition.scheme") == "domain" else name


def _shares(depths: list[int]) -> dict[int, float]:
    return {depth: depths.count(depth) / len(depths) for depth in depths}


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit code: 0 done, 2 a directory that is not one of a finished run."""
    cells, _ = read_published()
    parser = argparse.ArgumentParser(
        prog="python -m analysis.questions.table", description=(__doc__ or "").split("\n")[0]
    )
    command.add_runs(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="(default: %(default)s)")
    datasets = sorted({cell.dataset for cell in cells})
    backbones = sorted({cell.backbone for cell in cells if cell.backbone})
    parser.add_argument("--dataset", choices=datasets, help="whose published figures to add")
    parser.add_argument("--backbone", choices=backbones, help="whose published figures to add")
    given = parser.parse_args(arguments)

    def show() -> None:
        tables = tabulate(runs.finished(given.runs, read_run), given.dataset, given.backbone)
        print(FORMATS[given.format](tables), end="")

    return exit_code(show)


if __name__ == "__main__":
    sys.exit(main())
