"""What the settings of a run may be, whatever the data and the model."""

from pathlib import Path
from typing import Any

from fedra_ray.config.devices import check_devices
from fedra_ray.config.errors import SettingError
from fedra_ray.config.schema import WRAPPERS, ExperimentConfig, FleetConfig, LoraConfig
from fedra_ray.config.validation import check_bounds, check_sizes, check_types

_MODEL_LIMIT = 65_536  # of every size and number of layers in backbone.model_args
_LEAST_SHARE = 1e-4  # of a GPU: Ray counts no finer
#: Keyword arguments of plug-ins and models that follow from other settings.
_METHOD_GIVEN = {"problem"}
_WRAPPER_GIVEN = {"inner"}
_DATASET_GIVEN = {"root", "image_size", "resize"}
_MODEL_GIVEN = {
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}


def check(config: ExperimentConfig) -> None:
    """Refuse values that cannot work, whatever the data and the model.

    Raises:
        SettingError: for the first setting that is out of range.
    """
    check_types(config)
    check_bounds(config)
    _check_free(config)
    _check_fleet(config.fleet)
    _check_ranks(config.lora)
    check_devices(config.fleet)
    _check_gpus(config.runtime.num_gpus)
    _check_folders(config)
    check_sizes(config)


def _check_free(config: ExperimentConfig) -> None:
    """Refuse keyword arguments that follow from other settings, and numbers that no machine has the memory for."""
    _check_given("method.options", config.method.options, _METHOD_GIVEN)
    for section in WRAPPERS:
        _check_given(f"{section}.options", getattr(config, section).options, _WRAPPER_GIVEN)
    _check_given("dataset.options", config.dataset.options, _DATASET_GIVEN)
    _check_given("backbone.model_args", config.backbone.model_args, _MODEL_GIVEN)
    for name, value in config.backbone.model_args.items():
        if isinstance(value, int) and value > _MODEL_LIMIT:
            raise SettingError(f"backbone.model_args.{name}", value, f"must be at most {_MODEL_LIMIT}")


def _check_given(setting: str, arguments: dict[str, Any], given: set[str]) -> None:
    for name in given & arguments.keys():
        raise SettingError(f"{setting}.{name}", arguments[name], "follows from other settings")


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
        above = next(folder for folder in (path, *path.parents) if folder.exists())
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
        raise SettingError(setting, value, "apply only to depths that are drawn: set fleet.dynamic=true")
    wanted = len(fleet.memory_mb or fleet.depths)
    if len(value) != wanted or not (min(value) >= 0 and abs(sum(value) - 1) <= 1e-6):
        raise SettingError(setting, value, f"must be {wanted} numbers of at least 0, one per depth, that sum to 1")


def _check_ranks(lora: LoraConfig) -> None:
    for rank in lora.ranks.values():
        if not 1 <= rank <= lora.rank:
            raise SettingError(
                "lora.ranks", lora.ranks, f"every rank must be from 1 to lora.rank, which is {lora.rank}"
            )


def _check_gpus(share: float) -> None:
    """Ray places fractions of a GPU reliably only as 1/k, and whole GPUs above one."""
    unit_fraction = _LEAST_SHARE <= share < 1 and abs(1 / share - round(1 / share)) < 1e-3
    if not (share == 0 or unit_fraction or (share >= 1 and share % 1 == 0)):
        raise SettingError("runtime.num_gpus", share, "must be 0, a fraction 1/k (0.5, 0.25, ...), or a whole number")
