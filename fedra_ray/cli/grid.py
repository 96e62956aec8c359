"""The grid of a sweep, from its command line."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fedra_ray.cli.compose import compose_experiment
from fedra_ray.cli.overrides import MOST_RUNS, SEARCHPATH, parse, refuse_hydras, value_text, values
from fedra_ray.config.checks import check
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.run_dir.folder import below
from fedra_ray.runtime.grid import Grid, GridRun, run_name

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

_PARALLEL = "sweep.parallel"
#: Settings of which a sweep has one value for all its runs.
_COMMON = {"run_dir", _PARALLEL, "runtime.address", "runtime.max_actors", "runtime.num_cpus", "runtime.num_gpus"}


def compose_grid(overrides: list[str], config: str | None = None) -> Grid:
    """The grid of overrides that may have several values each, with every run checked.

    Args:
        overrides: As on the command line; `run_dir` names the folder of the sweep, `sweep.parallel` how many runs go
            on at once.
        config: Path or URI of the config.yaml of a run to start from; None for conf/config.yaml.

    Raises:
        SettingError: for the first setting of any run that cannot work, or if two runs would be the same.
    """
    parsed = parse(overrides)
    refuse_hydras(parsed)
    for item in parsed:
        if item.key_or_group in _COMMON and item.is_sweep_override():
            allowed = "takes one value, which all runs share; quote a name that has commas"
            raise SettingError(item.key_or_group, value_text(item), allowed)
    named = next((item for item in reversed(parsed) if item.key_or_group == "run_dir"), None)
    folder = "" if named else datetime.now().strftime("sweeps/%Y%m%d-%H%M%S-%f")
    runs = []
    for varied, composed in combinations([item for item in parsed if item.key_or_group != _PARALLEL], config):
        folder = folder or composed.run_dir
        if named:
            _check_folder(folder, composed, named)
        run = GridRun(varied, replace(composed, run_dir=below(folder, run_name(varied))))
        check(run.config)  # the name of its own folder may be too long
        runs.append(run)
    _check_differ(runs)
    return Grid(runs, folder, _parallel(parsed))


def combinations(
    parsed: "list[Override]", config: str | None = None
) -> Iterator[tuple[dict[str, str], ExperimentConfig]]:
    """Every combination of the overrides' values: the settings that vary with their values, and the configuration.

    Args:
        parsed: The overrides.
        config: As in `compose_grid`.

    Raises:
        SettingError: for the first setting of any combination that cannot work.
    """
    varying = [item for item in parsed if item.is_sweep_override()]
    grid = [values(item) for item in varying]
    _check_varying(parsed, varying, math.prod(map(len, grid)))
    fixed = [_text(item) for item in parsed if not item.is_sweep_override()]
    for combination in itertools.product(*grid):
        pairs = list(zip(varying, combination, strict=True))
        composed = compose_experiment([*fixed, *(f"{item.get_key_element()}={value}" for item, value in pairs)], config)
        check(composed)
        yield {item.key_or_group: value for item, value in pairs}, composed


def _text(item: "Override") -> str:
    """An override with one value; a list is as shuffle(...) has ordered it, for all runs alike."""
    if isinstance(item.value(), list):
        return f"{item.get_key_element()}={item.get_value_element_as_str()}"
    return item.input_line or ""


def _check_varying(parsed: "list[Override]", varying: "list[Override]", count: int) -> None:
    """Refuse a setting that varies and is there twice, a glob that would miss further choices, and a huge grid."""
    given = [item.key_or_group for item in parsed]
    for item in varying:
        setting = item.key_or_group
        if SEARCHPATH in given and value_text(item).startswith("glob("):
            raise SettingError(setting, value_text(item), f"glob sees no choices of {SEARCHPATH}; list them by name")
        if given.count(setting) > 1:
            raise SettingError(setting, value_text(item), "is given more than once; name all its values in one place")
    if count > MOST_RUNS:
        settings = " ".join(item.input_line or "" for item in varying)
        raise SettingError("sweep", settings, f"is {count:,} runs; at most {MOST_RUNS:,} are one sweep")


def _check_folder(folder: str, composed: ExperimentConfig, named: "Override") -> None:
    """Refuse a folder that follows from a setting that varies: it is one for all runs."""
    if composed.run_dir != folder and "${now:" not in value_text(named):
        allowed = f"means both {folder} and {composed.run_dir}; name one folder, in which every run has its own"
        raise SettingError("run_dir", value_text(named), allowed)


def _check_differ(runs: list[GridRun]) -> None:
    """Refuse a run that is there twice, as its configuration or as the name of its folder has it."""
    folders: dict[str, GridRun] = {}
    configurations: dict[str, GridRun] = {}
    for run in runs:
        same = configurations.setdefault(repr(replace(run.config, run_dir="")), run)
        if same is not run:
            setting, value = _difference(run, same)
            raise SettingError(setting, value, f"makes the same run as {'='.join(_difference(same, run))}; name one")
        rival = folders.setdefault(run.name, run)
        if rival is not run:
            setting, value = _difference(run, rival)
            allowed = f"would have the folder {run.name}, which {'='.join(_difference(rival, run))} has; rename one"
            raise SettingError(setting, value, allowed)


def _difference(run: GridRun, other: GridRun) -> tuple[str, str]:
    """The first setting that varies in which a run differs from another, and its value."""
    return next((name, value) for name, value in run.varied.items() if other.varied[name] != value)


def _parallel(parsed: "list[Override]") -> int | None:
    """How many runs go on at once, if the command line says so."""
    given: list[Any] = [item.value() for item in parsed if item.key_or_group == _PARALLEL]
    if given and (type(given[-1]) is not int or given[-1] < 1):
        raise SettingError(_PARALLEL, given[-1], "must be a whole number of at least 1")
    return given[-1] if given else None
