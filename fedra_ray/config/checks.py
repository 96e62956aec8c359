"""What the settings of a run may be, whatever the data and the model."""

from pathlib import Path
from typing import Any

from fedra_ray.config.devices import check_devices
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import ExperimentConfig, FleetConfig
from fedra_ray.config.types import check_sizes, check_types

_MINIMUM = {
    "fleet.straggler_spread": 0,
    "rounds": 1,
    "seed": 0,
    "fleet.num_clients": 1,
    "fleet.clients_per_round": 1,
    "training.weight_decay": 0,
    "training.batch_size": 1,
    "training.local_epochs": 1,
    "training.max_steps": 1,
    "partition.shards_per_client": 1,
    "partition.min_size": 1,
    "partition.examples_per_client": 1,
    "dataset.memory_mb": 0,
    "lora.rank": 1,
    "evaluation.every": 1,
    "evaluation.batch_size": 1,
    "checkpoint.every": 1,
    "checkpoint.keep": 1,
    "runtime.max_actors": 1,
    "runtime.clients_per_actor": 1,
    "runtime.max_attempts": 1,
}
_MAXIMUM = {
    "rounds": 999_999,  # names of restart points have six digits
    "fleet.num_clients": 1_000_000,
    "training.local_epochs": 10_000,
    "partition.shards_per_client": 10_000,
    "lora.rank": 4096,  # the width of the largest models
}
_BELOW_ONE = ("lora.dropout", "fleet.dropout", "training.momentum")
_MODEL_LIMIT = 65_536  # of every size and number of layers in backbone.model_args
_LEAST_SHARE = 1e-4  # of a GPU: Ray counts no finer
#: Keyword arguments that other settings give.
_RESERVED = {
    "method.options": {"problem"},
    "client_optimizer.options": {"inner"},
    "server_optimizer.options": {"inner"},
    "dataset.options": {"root", "image_size"},
    "backbone.model_args": {
        "num_classes",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
    },
}
_POSITIVE = (
    "fleet.round_deadline",
    "aggregation.max_norm",
    "runtime.task_timeout",
    "training.lr",
    "training.head_lr",
    "training.clip_norm",
    "lora.alpha",
    "partition.alpha",
    "runtime.num_cpus",
)
_CHOICES = {
    "on_client_failure": ("fail", "drop"),
    "resume": ("auto", "force"),
    "dataset.on_error": ("fail", "skip"),
    "fleet.sampling": ("uniform", "per_domain"),
    "partition.scheme": ("domain", "shards", "iid", "lazy"),
    "training.step_cap": ("none", "cohort", "fleet"),
    "training.precision": ("fp32", "bf16"),
    "aggregation.weighting": ("uniform", "examples"),
    "evaluation.split": ("validation", "test"),
}


def check(config: ExperimentConfig) -> None:
    """Refuse values that cannot work, whatever the data and the model.

    Raises:
        SettingError: for the first setting that is out of range.
    """
    check_types(config)
    for setting, minimum in _MINIMUM.items():
        value = _value(config, setting)
        if value is not None and not value >= minimum:
            raise SettingError(setting, value, f"must be at least {minimum}")
    for setting, maximum in _MAXIMUM.items():
        value = _value(config, setting)
        if value > maximum:
            raise SettingError(setting, value, f"must be at most {maximum}")
    for setting in _POSITIVE:
        value = _value(config, setting)
        if value is not None and not value > 0:
            raise SettingError(setting, value, "must be greater than 0")
    for setting, choices in _CHOICES.items():
        value = _value(config, setting)
        if value not in choices:
            raise SettingError(setting, value, f"must be one of {', '.join(choices)}")
    for setting in _BELOW_ONE:
        value = _value(config, setting)
        if not 0 <= value < 1:
            raise SettingError(setting, value, "must be at least 0 and below 1")
    _check_free(config)
    _check_fleet(config.fleet)
    check_devices(config.fleet)
    _check_gpus(config.runtime.num_gpus)
    _check_folders(config)
    check_sizes(config)


def _check_free(config: ExperimentConfig) -> None:
    """Refuse keyword arguments that other settings give, and numbers that would build a model beyond any memory."""
    for setting, names in _RESERVED.items():
        for name in names & _value(config, setting).keys():
            raise SettingError(f"{setting}.{name}", _value(config, setting)[name], "follows from other settings")
    for name, value in config.backbone.model_args.items():
        if isinstance(value, int) and value > _MODEL_LIMIT:
            raise SettingError(f"backbone.model_args.{name}", value, f"must be at most {_MODEL_LIMIT}")


def _check_folders(config: ExperimentConfig) -> None:
    """Refuse folders that can never be made: that of the run, and that of the cache, which may be null."""
    for setting, name in (("run_dir", config.run_dir), ("dataset.cache", config.dataset.cache)):
        if name is not None and "://" not in name:
            _check_folder(setting, name)


def _check_folder(setting: str, name: str) -> None:
    if not name.strip():
        raise SettingError(setting, name, "must name a folder")
    try:
        path = Path(name).expanduser().absolute()
        above = next(each for each in (path, *path.parents) if each.exists())
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingError(setting, name, f"is no folder that can be made: {error}") from error
    if not above.is_dir():
        raise SettingError(setting, name, f"is no folder that can be made: {above} is a file")


def _check_fleet(fleet: FleetConfig) -> None:
    if not fleet.depths:
        raise SettingError("fleet.depths", fleet.depths, "must name at least one depth, for example [12,10,8,6,4,3]")
    if min(fleet.depths) < 1:
        raise SettingError("fleet.depths", fleet.depths, "every depth must be at least 1")
    if fleet.memory_mb is not None and not (fleet.memory_mb and min(fleet.memory_mb) > 0):
        raise SettingError("fleet.memory_mb", fleet.memory_mb, "must name at least one budget, each greater than 0")
    _check_probabilities(fleet)
    cohort = fleet.clients_per_round
    if cohort is not None and cohort > fleet.num_clients:
        raise SettingError(
            "fleet.clients_per_round",
            cohort,
            f"must be at most fleet.num_clients, which is {fleet.num_clients}",
        )


def _check_probabilities(fleet: FleetConfig) -> None:
    if fleet.probabilities is None:
        return
    setting, value = "fleet.probabilities", fleet.probabilities
    if not fleet.dynamic:
        raise SettingError(setting, value, "are for fleet.dynamic=true, in which depths are drawn")
    wanted = len(fleet.memory_mb or fleet.depths)
    if len(value) != wanted or not (min(value) >= 0 and abs(sum(value) - 1) <= 1e-6):
        raise SettingError(setting, value, f"must be {wanted} numbers of at least 0, one a depth, that sum to 1")


def _check_gpus(share: float) -> None:
    """Ray places fractions of a GPU reliably only as 1/k, and whole GPUs above one."""
    unit_fraction = _LEAST_SHARE <= share < 1 and abs(1 / share - round(1 / share)) < 1e-3
    if not (share == 0 or unit_fraction or (share >= 1 and share % 1 == 0)):
        raise SettingError("runtime.num_gpus", share, "must be 0, a fraction 1/k (0.5, 0.25, ...), or a whole number")


def _value(config: ExperimentConfig, setting: str) -> Any:
    value: Any = config
    for part in setting.split("."):
        value = getattr(value, part)
    return value
