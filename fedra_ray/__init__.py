"""Federated tuning for heterogeneous clients (FedRA) on Ray: the public names, each imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedra_ray.api import Result, run_experiment, run_local
    from fedra_ray.cli.compose import compose
    from fedra_ray.config.errors import RunFailedError, SettingError
    from fedra_ray.config.schema import ExperimentConfig
    from fedra_ray.data.dataset import Dataset
    from fedra_ray.data.text.dataset import InstructionDataset, TextDataset
    from fedra_ray.loading import TunedLanguageModel, TunedModel, TunedTextModel, load
    from fedra_ray.methods.method import Method, Problem
    from fedra_ray.methods.wrapper import Wrapper

_HOMES = {
    "Dataset": "fedra_ray.data.dataset",
    "ExperimentConfig": "fedra_ray.config.schema",
    "InstructionDataset": "fedra_ray.data.text.dataset",
    "Method": "fedra_ray.methods.method",
    "Problem": "fedra_ray.methods.method",
    "Result": "fedra_ray.api",
    "RunFailedError": "fedra_ray.config.errors",
    "SettingError": "fedra_ray.config.errors",
    "TextDataset": "fedra_ray.data.text.dataset",
    "TunedLanguageModel": "fedra_ray.loading",
    "TunedModel": "fedra_ray.loading",
    "TunedTextModel": "fedra_ray.loading",
    "Wrapper": "fedra_ray.methods.wrapper",
    "compose": "fedra_ray.cli.compose",
    "load": "fedra_ray.loading",
    "run_experiment": "fedra_ray.api",
    "run_local": "fedra_ray.api",
}

__all__ = [
    "Dataset",
    "ExperimentConfig",
    "InstructionDataset",
    "Method",
    "Problem",
    "Result",
    "RunFailedError",
    "SettingError",
    "TextDataset",
    "TunedLanguageModel",
    "TunedModel",
    "TunedTextModel",
    "Wrapper",
    "compose",
    "load",
    "run_experiment",
    "run_local",
]


def __getattr__(name: str) -> Any:
    """A public name from its module, so that importing the package takes no time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
