"""Hydra's own way through a grid: one run after another, on this machine, in the folders that Hydra names."""

import sys
from collections.abc import Callable
from typing import cast

from fedra_ray.cli.compose import schema_node, to_plain
from fedra_ray.cli.ending import exit_code
from fedra_ray.cli.grid import combinations
from fedra_ray.cli.overrides import is_hydras, parse
from fedra_ray.config.checks import check
from fedra_ray.config.paths import conf_dir
from fedra_ray.config.schema import ExperimentConfig

_FIRST_SIGNAL = 130  # exit codes from here on say that a signal has ended a run
#: Unless they are given: folders of two processes that start in the same second must differ.
_FOLDERS = ("hydra.sweep.dir=multirun/${now:%Y-%m-%d}/${now:%H-%M-%S-%f}", "run_dir=${hydra:runtime.output_dir}/run")


def multirun(overrides: list[str], start: Callable[[ExperimentConfig], None]) -> None:
    """Run every combination of the overrides' values; a run that fails does not keep the next ones from starting.

    Args:
        overrides: As on the command line; the values of a setting are separated by commas.
        start: Runs one experiment.

    Raises:
        SettingError: before any run, for the first setting of any of them that cannot work.
        SystemExit: with the highest exit code of the runs, if one did not end well; an interruption ends all of them.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig

    own_settings = [item for item in parse(overrides) if not is_hydras(item) and item.key_or_group != "run_dir"]
    for _ in combinations(own_settings):
        pass  # each is checked
    codes = [0]

    def carry_out(composed: DictConfig) -> None:
        config = cast(ExperimentConfig, to_plain(composed))
        check(config)
        start(config)

    @hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    def task(composed: DictConfig) -> None:
        codes.append(exit_code(lambda: carry_out(composed)))
        if codes[-1] >= _FIRST_SIGNAL:
            raise SystemExit(codes[-1])

    ConfigStore.instance().store("config_schema", node=schema_node(ExperimentConfig))
    given = {override.partition("=")[0] for override in overrides}
    own = [folder for folder in _FOLDERS if folder.partition("=")[0] not in given]
    sys.argv = [sys.argv[0], "--multirun", *overrides, *own]
    task()
    if max(codes):
        raise SystemExit(max(codes))
