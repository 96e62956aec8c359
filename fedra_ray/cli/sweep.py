"""Run a grid of experiments as one job, several at a time.

A setting with several values varies: there is a run for every combination. They
are separated by commas, or told by range(START,STOP) or, for a whole group of
settings, glob(PATTERN); the settings are those of `fedra-ray run`. run_dir names
the folder of the sweep, in which every run has a folder of its own, results.parquet
has one row per run, and report.html compares them. The same command with the same
run_dir does what is left to do; a run that fails takes no other with it. The client
actors that the cluster has room for, or runtime.max_actors, are shared equally
among the runs that go on; sweep.parallel says how many do.

  fedra-ray sweep method=fedra,depthfl seed=0,1,2 run_dir=sweeps/mine
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.cli.compose import add_config_option
from fedra_ray.config.errors import RunFailedError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.runtime.environment import declare
from fedra_ray.runtime.uncollected import uncollected

OPERANDS = ("SETTING=VALUES", "settings; the values of one that varies are separated by commas")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_config_option(parser)


def composed(settings: list[str], options: Namespace) -> tuple[list[ExperimentConfig], str]:
    """The checked configurations of all runs, and the folder of the sweep.

    Raises:
        SettingError: for the first setting of any run that cannot work.
    """
    from fedra_ray.cli.grid import compose_grid

    grid = compose_grid(settings, options.config)
    return [run.config for run in grid.runs], grid.folder


def carry_out(settings: list[str], options: Namespace) -> None:
    """Run every experiment of the grid that has not finished yet."""
    from fedra_ray.cli.grid import compose_grid

    grid = compose_grid(settings, options.config)
    declare(grid.runs[0].config.runtime.address)
    with uncollected():
        from fedra_ray.runtime.sweep import Sweep

    failed = sum(result.error is not None for result in Sweep(grid).run())
    if failed:
        raise RunFailedError(f"{failed} of {len(grid.runs)} runs failed; the same command tries them again")
