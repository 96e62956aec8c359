"""The runs of a sweep, from its command line."""

import itertools
import time

from fedra_ray.cli.compose import check_syntax, compose
from fedra_ray.config.errors import SettingError
from fedra_ray.runtime.grid import Cell, cell_name


def grid(overrides: list[str]) -> tuple[list[Cell], str, int | None]:
    """Every run of a sweep, checked; the sweep's folder; and how many runs go on at once.

    `run_dir` names the folder, in which every run has its own.

    Raises:
        SettingError: for the first setting of any run that cannot work.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from fedra_ray.config.checks import check
    from fedra_ray.config.schema import ExperimentConfig

    own = dict(each.split("=", 1) for each in overrides if each.startswith(("run_dir=", "sweep.parallel=")))
    parallel = own.get("sweep.parallel")
    if parallel is not None and not (parallel.isdecimal() and int(parallel)):
        raise SettingError("sweep.parallel", parallel, "must be a whole number of at least 1")
    out = own.get("run_dir", time.strftime("sweeps/%Y%m%d-%H%M%S")).rstrip("/")
    rest = [each for each in overrides if each.partition("=")[0] not in own]
    check_syntax(rest)
    parsed = OverridesParser.create().parse_overrides(rest)
    swept = {each.key_or_group: list(each.sweep_string_iterator()) for each in parsed if each.is_sweep_override()}
    fixed = [each.input_line or "" for each in parsed if not each.is_sweep_override()]
    cells = []
    for values in itertools.product(*swept.values()):
        varied = dict(zip(swept, values, strict=True))
        settings = [f"{setting}={value}" for setting, value in varied.items()]
        config = compose("config", ExperimentConfig, [*fixed, *settings, f"run_dir='{out}/{cell_name(varied)}'"])
        check(config)
        cells.append(Cell(varied, config))
    return cells, out, int(parallel) if parallel else None
