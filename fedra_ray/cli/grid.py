"""The grid of a sweep, from its command line."""

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

from fedra_ray.cli.compose import check_syntax, compose_experiment
from fedra_ray.config.checks import check
from fedra_ray.config.errors import SettingError
from fedra_ray.run_dir.folder import below
from fedra_ray.runtime.grid import Grid, GridRun, run_name

_OWN = {"run_dir", "sweep.parallel"}


def compose_grid(overrides: list[str], config: str | None = None) -> Grid:
    """The grid of overrides that may have several values each, with every run checked.

    Args:
        overrides: As on the command line; `run_dir` names the folder of the sweep, `sweep.parallel` how many runs go
            on at once.
        config: Path or URI of the config.yaml of a run to start from; None for conf/config.yaml.

    Raises:
        SettingError: for the first setting of any run that cannot work.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    check_syntax(overrides)
    parsed = OverridesParser.create().parse_overrides(overrides)
    varying = {item.key_or_group: list(item.sweep_string_iterator()) for item in parsed if item.is_sweep_override()}
    for setting in _OWN & varying.keys():
        raise SettingError(setting, ",".join(varying[setting]), "takes one value; quote a name that has commas")
    parallel = next((item for item in parsed if item.key_or_group == "sweep.parallel"), None)
    named = any(item.key_or_group == "run_dir" for item in parsed)
    fixed = [item.input_line or "" for item in parsed if not item.is_sweep_override() and item is not parallel]
    folder = "" if named else datetime.now().strftime("sweeps/%Y%m%d-%H%M%S-%f")
    runs = []
    for values in itertools.product(*varying.values()):
        varied = dict(zip(varying, values, strict=True))
        composed = compose_experiment([*fixed, *(f"{setting}={value}" for setting, value in varied.items())], config)
        check(composed)
        folder = folder or composed.run_dir
        run = GridRun(varied, replace(composed, run_dir=below(folder, run_name(varied))))
        check(run.config)  # the name of its own folder may be too long
        runs.append(run)
    return Grid(runs, folder, _parallel(parallel.value()) if parallel else None)


def _parallel(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise SettingError("sweep.parallel", value, "must be a whole number of at least 1")
    return value
