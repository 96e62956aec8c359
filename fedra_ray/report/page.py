"""The page: facts of one finished run, or of several, as one HTML file that needs no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedra_ray.report import panels, tables
from fedra_ray.report.comparison import Group, compare
from fedra_ray.report.facts import Facts
from fedra_ray.report.wording import count, gaps, gaps_of, result
from fedra_ray.run_dir.command import repeat_command

FILE = "report.html"
_TEMPLATE = "page.html.j2"


def render(runs: Sequence[Facts]) -> str:
    """The page of one or more finished runs.

    Raises:
        SettingError: if two of them are the same, seed included.
    """
    groups = compare(runs)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = _of_one(runs[0]) if len(runs) == 1 else _of_several(groups)
    repeated = [_repetition(group, run) for group in groups for run in group.runs]
    page = environment.get_template(_TEMPLATE).render(result=result(groups), runs=repeated, **content)
    return page.lstrip()


def _of_one(run: Facts) -> dict[str, Any]:
    """The parts that only the page of a single run has."""
    return {
        "title": f"{run.method} on {run.dataset}",
        "kicker": f"{run.dataset} · {run.backbone}",
        "setting": f"{count(run.clients, 'client')} · {run.partition} · seed {run.seed} · {run.where}",
        "accuracy": tables.by_domain(run),
        "curves": panels.curves(run),
        "coverage": [gaps(run)],
        "pictures": panels.allocation(run),
        "tiles": tables.tiles(run.cost),
        "costs": None,
    }


def _of_several(groups: Sequence[Group]) -> dict[str, Any]:
    """The parts that only the page of several runs has."""
    runs = [run for group in groups for run in group.runs]
    datasets, backbones = (", ".join(sorted({getattr(run, name) for run in runs})) for name in ("dataset", "backbone"))
    return {
        "title": f"{count(len(runs), 'run')} on {datasets}",
        "kicker": f"{datasets} · {backbones}",
        "setting": f"{count(len(runs), 'run')}, the best first",
        "accuracy": tables.by_run(groups),
        "curves": panels.curves_of(groups),
        "coverage": gaps_of(groups),
        "pictures": panels.coverage(groups),
        "tiles": [],
        "costs": tables.costs(groups),
    }


def _repetition(group: Group, run: Facts) -> dict[str, Any]:
    """How to repeat a run, and what it was made with."""
    return {
        "name": f"{group.name(run)}: {run.where}",
        "command": repeat_command(run.where),
        "config": run.config,
        "versions": run.versions,
        "commit": run.commit,
    }
