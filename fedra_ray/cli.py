"""The verbs of the command line. Heavy imports wait until a verb needs them, so that --help answers at once."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar, cast

from fedra_ray.errors import RunFailedError, SettingError
from fedra_ray.paths import conf_dir
from fedra_ray.runtime.environment import declare
from fedra_ray.runtime.interruption import Terminated

T = TypeVar("T")


def run(overrides: list[str]) -> None:
    """Run an experiment (the default verb)."""
    from fedra_ray.checks import check
    from fedra_ray.config import ExperimentConfig

    config = compose("config", ExperimentConfig, overrides)
    check(config)
    declare(config.runtime.address)
    from fedra_ray.runtime.driver import run_experiment

    run_experiment(config)


def pretrain(overrides: list[str]) -> None:
    """Pre-train a small backbone from scratch."""
    from fedra_ray.pretrain import PretrainConfig
    from fedra_ray.pretrain import pretrain as start

    start(compose("pretrain", PretrainConfig, overrides))


def prepare(overrides: list[str]) -> None:
    """Decode and resize a data set once, into Parquet shards."""
    from fedra_ray.data.prepare import PrepareConfig

    config = compose("prepare", PrepareConfig, overrides)
    declare(config.address)
    from fedra_ray.runtime.preparation import prepare_dataset

    prepare_dataset(config)


def plan(overrides: list[str]) -> None:
    """Say what an experiment would cost, without running it."""
    from fedra_ray.plan import PlannedExperiment, draw_plan
    from fedra_ray.plan_tables import show

    config = compose("config", PlannedExperiment, overrides)
    show(draw_plan(config), config)


VERBS: dict[str, Callable[[list[str]], None]] = {"run": run, "plan": plan, "prepare": prepare, "pretrain": pretrain}


def compose(name: str, schema: type[T], overrides: list[str]) -> T:
    """The configuration conf/NAME.yaml with overrides, as a plain dataclass.

    Raises:
        SettingError: for an unknown setting or option group, or a value of the wrong type.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException as error:
            raise _explain(error, [override]) from error
    ConfigStore.instance().store(f"{name}_schema", node=schema)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra_compose(name, overrides=overrides)
        return cast(T, OmegaConf.to_object(composed))
    except (
        Exception
    ) as error:  # Hydra raises kinds of its own, of OmegaConf, and for null in place of a name ValueError
        raise _explain(error, overrides) from error


def _explain(error: Exception, overrides: list[str]) -> SettingError:
    """One line from Hydra's chain of errors, with the override it is about."""
    reasons = []
    cause: BaseException | None = error
    while cause is not None:
        reasons.append(" ".join(str(cause).split("Config search path")[0].split()))
        cause = cause.__cause__
    reason = "; ".join(each for each in dict.fromkeys(reasons) if each not in ("", "None"))
    longest_first = sorted(overrides, key=len, reverse=True)  # `dataset` is part of many reasons
    for override in sorted(longest_first, key=lambda each: each not in reason):
        key, _, value = override.partition("=")
        if key.lstrip("+~") in reason or len(overrides) == 1:
            return SettingError(key, value, reason)
    return SettingError("configuration", " ".join(overrides), reason)


def usage() -> str:
    """The help text: every verb with its line, and the settings most used."""
    verbs = "\n".join(f"  {name:10} {_first_line(function)}" for name, function in VERBS.items())
    return f"""\
fedra-ray: federated tuning of foundation models by clients of unequal size, on Ray

usage: fedra-ray [VERB] [SETTING=VALUE ...]

verbs:
{verbs}

settings, for example:
  experiment=paper/domainnet_vit_feature_skew  compat=authors
  method=fedra|alllarge|allsmall|exclusive|inclusivefl|depthfl|headonly
  dataset=glyphs|domainnet|nicopp|domain_folder|parquet  dataset.root=PATH_OR_URI
  backbone=glyph_vit|glyph_mixer|vit_b16|mixer_b16  backbone.checkpoint=FILE
  partition=feature_skew|feature_label_skew|iid|shards
  fleet=paper|extreme3|extreme4|extreme6|dynamic|fedbrick  fleet.depths=[12,10,8,6,4,3]
  fleet.num_clients=30  fleet.clients_per_round=6  fleet.memory_mb=[4000,2000,1000]
  rounds=40  seed=0  run_dir=runs/mine
  training.lr=0.1  lora.rank=8  allocation.cover=true  evaluation.every=10
  runtime.max_actors=2  runtime.num_gpus=0.25  runtime.address=auto
All of them, with their defaults, are in {conf_dir()}."""


def _first_line(function: Callable[..., None]) -> str:
    return (function.__doc__ or "").splitlines()[0]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 done, 1 failed, 2 a setting that cannot work, 130 interrupted.

    A run that SIGTERM ended gives 143, as shells have it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(arguments):
        print(usage())
        return 0
    verb = arguments.pop(0) if arguments and "=" not in arguments[0] else "run"
    try:
        if verb not in VERBS:
            raise SettingError("verb", verb, f"must be one of {', '.join(VERBS)}, or a setting as NAME=VALUE")
        VERBS[verb](arguments)
    except SettingError as error:
        return _fail(error, 2)
    except (RunFailedError, OSError) as error:  # a disk that is full, a folder that may not be written
        return _fail(error, 1)
    except KeyboardInterrupt as interruption:
        return 143 if isinstance(interruption, Terminated) else 130
    return 0


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {_printable(str(error))}", file=sys.stderr)
    return code


def _printable(text: str) -> str:
    """One line without control characters: names in a data set, of which messages tell, must not steer a terminal."""
    one_line = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in one_line)
