"""Run an experiment (the default verb).

What it computes is set by SETTING=VALUE, in the grammar of Hydra's overrides: a
choice of a whole group of settings (method=depthfl), or a single setting
(training.lr=0.1). Everything else is as in conf/config.yaml or, with --config, as
in the config.yaml of another run. The same command with the same run_dir resumes
a run that was interrupted; a finished run is shown and never overwritten.

  fedra-ray run method=depthfl rounds=10 seed=1 run_dir=runs/mine
  fedra-ray run --config runs/mine/config.yaml run_dir=runs/again
                                     repeats that run, bit for bit
  fedra-ray --multirun seed=0,1,2    runs a grid, one run after another
"""

from argparse import ArgumentParser, Namespace

from fedra_ray.cli.choices import overview
from fedra_ray.cli.compose import add_config_option, compose_experiment
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig
from fedra_ray.runtime.environment import declare
from fedra_ray.runtime.uncollected import uncollected

OPERANDS = ("SETTING=VALUE", "settings, as below")


def add_options(parser: ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.epilog = overview()
    add_config_option(parser)
    parser.add_argument("-m", "--multirun", action="store_true", help="run every combination of values, as Hydra does")


def composed(settings: list[str], options: Namespace) -> tuple[list[ExperimentConfig], None]:
    """The checked configuration of the run, the only one; it has no folder of a sweep above it.

    Raises:
        SettingError: for a setting that cannot work.
    """
    from fedra_ray.config.checks import check

    if options.multirun:
        raise SettingError("--multirun", " ".join(settings), "is for this machine alone; on a cluster use sweep")
    config = compose_experiment(settings, options.config)
    check(config)
    return [config], None


def carry_out(settings: list[str], options: Namespace) -> None:
    """Run the experiment, or all those of Hydra's grid."""
    if options.multirun:
        from fedra_ray.cli.multirun import multirun

        if options.config is not None:
            raise SettingError("--config", options.config, "does not go with --multirun; use sweep")
        multirun(settings, start)
        return
    (config,), _ = composed(settings, options)
    start(config)


def start(config: ExperimentConfig) -> None:
    """Run an experiment whose configuration has been checked."""
    declare(config.runtime.address)
    with uncollected():
        from fedra_ray.runtime.driver import run_experiment

    run_experiment(config)
