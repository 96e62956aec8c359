"""The verbs of the command line. Heavy imports wait until a verb needs them, so that --help answers at once."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from fedra_ray.cli.compose import compose
from fedra_ray.config.errors import RunFailedError, SettingError, one_line
from fedra_ray.config.paths import conf_dir
from fedra_ray.runtime.environment import declare
from fedra_ray.runtime.interruption import Terminated

if TYPE_CHECKING:
    from fedra_ray.config.schema import ExperimentConfig

T = TypeVar("T")


def run(overrides: list[str]) -> None:
    """Run an experiment (the default verb)."""
    from fedra_ray.config.schema import ExperimentConfig

    _run(compose("config", ExperimentConfig, overrides))


def _run(config: "ExperimentConfig") -> None:
    from fedra_ray.config.checks import check

    check(config)
    declare(config.runtime.address)
    from fedra_ray.runtime.driver import run_experiment

    run_experiment(config)


def sweep(overrides: list[str]) -> None:
    """Run a grid of experiments as one job; the values of a setting are separated by commas."""
    from fedra_ray.cli.grid import grid

    cells, out, parallel = grid(overrides)
    declare(cells[0].config.runtime.address)
    from fedra_ray.runtime.sweep import Sweep

    failed = sum(result.error is not None for result in Sweep(cells, out, parallel).run())
    if failed:
        raise RunFailedError(f"{failed} of {len(cells)} runs failed; the same command tries them again")


def submit(arguments: list[str]) -> None:
    """Submit a run or a sweep to a Ray cluster as a job: fedra-ray submit [--wait] -- [VERB] SETTING=VALUE ..."""
    from fedra_ray.runtime.submission import parse, submit_job

    options, entry = parse(arguments)
    verb, overrides = ("run", entry) if not entry or "=" in entry[0] else (entry[0], entry[1:])
    if verb == "run":
        from fedra_ray.config.checks import check
        from fedra_ray.config.schema import ExperimentConfig

        configs = [compose("config", ExperimentConfig, overrides)]
        check(configs[0])
    elif verb == "sweep":
        from fedra_ray.cli.grid import grid

        configs = [cell.config for cell in grid(overrides)[0]]
    else:
        raise SettingError("verb", verb, "must be run or sweep")
    submit_job(options, verb, overrides, [config.run_dir for config in configs])


def prepare(overrides: list[str]) -> None:
    """Decode and resize a data set once, into Parquet shards."""
    from fedra_ray.data.prepare.shards import PrepareConfig

    config = compose("prepare", PrepareConfig, overrides)
    declare(config.address)
    from fedra_ray.runtime.preparation import prepare_dataset

    prepare_dataset(config)


def plan(overrides: list[str]) -> None:
    """Say what an experiment would cost, without running it."""
    from fedra_ray.cost.plan import PlannedExperiment, draw_plan
    from fedra_ray.cost.tables import show

    config = compose("config", PlannedExperiment, overrides)
    show(draw_plan(config), config)


def status(run_dirs: list[str]) -> None:
    """Say where runs are, from their folders alone."""
    from fedra_ray.watch.status import report

    report(run_dirs)


def report(arguments: list[str]) -> None:
    """Write the page of finished runs: their results, curves, allocation and cost."""
    from fedra_ray.report.verb import report as write

    write(arguments)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "run": run,
    "sweep": sweep,
    "submit": submit,
    "status": status,
    "report": report,
    "plan": plan,
    "prepare": prepare,
}


def usage() -> str:
    """The help text: every verb with its line, and the settings most used."""
    verbs = "\n".join(f"  {name:10} {_first_line(function)}" for name, function in VERBS.items())
    return f"""\
fedra-ray: federated tuning of foundation models by clients of unequal size, on Ray

usage: fedra-ray [VERB] [SETTING=VALUE ...]
       fedra-ray sweep SETTING=VALUE,VALUE,... [sweep.parallel=2] [run_dir=sweeps/mine]
       fedra-ray submit [--wait] -- [VERB] [SETTING=VALUE ...]
       fedra-ray --multirun SETTING=VALUE,VALUE,...   (Hydra's own, one after another)
       fedra-ray status RUN_DIR ...
       fedra-ray report RUN_DIR ... [--out report.html]

verbs:
{verbs}

settings, for example:
  experiment=paper/domainnet_vit_feature_skew  compat=authors
  method=fedra|alllarge|allsmall|exclusive|inclusivefl|depthfl|headonly
  dataset=glyphs|domainnet|nicopp|domain_folder|parquet  dataset.root=PATH_OR_URI
  backbone=glyph_vit|glyph_mixer|vit_b16|mixer_b16  backbone.checkpoint=FILE
  partition=feature_skew|feature_label_skew|iid|shards|lazy
  fleet=paper|extreme3|extreme4|extreme6|dynamic|fedbrick  fleet.depths=[12,10,8,6,4,3]
  fleet.num_clients=30  fleet.clients_per_round=6  fleet.memory_mb=[4000,2000,1000]
  rounds=40  seed=0  run_dir=runs/mine
  training.lr=0.1  lora.rank=8  method.options.draw=covering  evaluation.every=20
  runtime.max_actors=2  runtime.num_gpus=0.25  runtime.address=auto
  fleet.devices=[phone,laptop,edge_gpu,workstation]  on_client_failure=drop
All of them, with their defaults, are in {conf_dir()}."""


def _first_line(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").splitlines()[0]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 done, 1 failed, 2 a setting that cannot work, 130 interrupted.

    A run that SIGTERM ended gives 143, as shells have it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(arguments) and arguments[0] != "submit":  # that one has options of its own
        print(usage())
        return 0
    if {"-m", "--multirun"} & set(arguments):
        return _multirun([each for each in arguments if each not in ("-m", "--multirun")])
    verb = arguments.pop(0) if arguments and "=" not in arguments[0] else "run"

    def carry_out() -> None:
        if verb not in VERBS:
            raise SettingError("verb", verb, f"must be one of {', '.join(VERBS)}, or a setting as NAME=VALUE")
        VERBS[verb](arguments)

    return _ending(carry_out)


def _ending(carry_out: Callable[[], None]) -> int:
    """The exit code of what is carried out; errors end in one line."""
    try:
        carry_out()
    except SettingError as error:
        return _fail(error, 2)
    except (RunFailedError, OSError) as error:  # a disk that is full, a folder that may not be written
        return _fail(error, 1)
    except KeyboardInterrupt as interruption:
        return 143 if isinstance(interruption, Terminated) else 130
    return 0


def _multirun(overrides: list[str]) -> int:
    """Hydra's own way through a grid: one run after another, on this machine, in the folders that Hydra names."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    from fedra_ray.config.schema import ExperimentConfig

    codes = [0]

    @hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")
    def task(composed: DictConfig) -> None:
        codes.append(_ending(lambda: _run(cast(ExperimentConfig, OmegaConf.to_object(composed)))))

    ConfigStore.instance().store("config_schema", node=ExperimentConfig)
    own = [] if any(each.startswith("run_dir=") for each in overrides) else ["run_dir=${hydra:runtime.output_dir}/run"]
    sys.argv = [sys.argv[0], "--multirun", *overrides, *own]
    task()
    return max(codes)


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {one_line(str(error))}", file=sys.stderr)
    return code
